package withings

import (
	"strconv"

	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"

	"github.com/kiln-health/kiln/fhir"
)

// deviceIDs is the identifier system of the ids that the API gives to devices. They
// are pseudonyms of the vendor: no serial number, no EUI-64.
const deviceIDs = fhir.Namespace + "device-id/withings"

const maker = "Withings"

// model is a device model of the vendor's list.
type model struct{ maker, name, kind string }

const (
	scale       = "Scale"
	bpMonitor   = "Blood pressure monitor"
	tracker     = "Activity tracker"
	sleep       = "Sleep monitor"
	thermometer = "Thermometer"
	babyMonitor = "Baby monitor"
	phone       = "Phone or app"
)

// models are the models by the vendor's number. The maker is stated where it is
// Withings; numbers above 1000 are other makers' devices and phones.
var models = map[int64]model{
	1: {maker, "WBS01", scale}, 2: {maker, "WS30", scale}, 3: {maker, "Kid Scale", scale},
	4: {maker, "Smart Body Analyzer", scale}, 5: {maker, "Body+", scale}, 6: {maker, "Body Cardio", scale},
	7: {maker, "Body", scale}, 9: {maker, "Body Pro", scale}, 10: {maker, "Body Scan", scale},
	11: {maker, "WBS10", scale}, 12: {maker, "WBS11", scale}, 18: {maker, "Body Comp", scale},
	21: {maker, "Smart Baby Monitor", babyMonitor}, 22: {maker, "Withings Home", babyMonitor},
	41: {maker, "Blood Pressure Monitor V1", bpMonitor}, 42: {maker, "Blood Pressure Monitor V2", bpMonitor},
	43: {maker, "Blood Pressure Monitor V3", bpMonitor}, 44: {maker, "BPM Core", bpMonitor},
	45: {maker, "BPM Connect", bpMonitor}, 46: {maker, "BPM Connect Pro", bpMonitor},
	47: {maker, "BPM Pro 2", bpMonitor}, 48: {maker, "BPM Vision", bpMonitor},
	51: {maker, "Pulse", tracker}, 52: {maker, "Activite", tracker}, 53: {maker, "Activite (Pop, Steel)", tracker},
	54: {maker, "Withings Go", tracker}, 55: {maker, "Activite Steel HR", tracker}, 58: {maker, "Pulse HR", tracker},
	59: {maker, "Activite Steel HR Sport Edition", tracker},
	60: {maker, "Aura Dock", sleep}, 61: {maker, "Aura Sensor", sleep}, 63: {maker, "Aura Sensor V2", sleep},
	70: {maker, "Thermo", thermometer}, 71: {maker, "BeamO", thermometer},
	90: {maker, "Move", tracker}, 91: {maker, "Move ECG", tracker}, 92: {maker, "Move ECG", tracker},
	93: {maker, "ScanWatch", tracker}, 94: {maker, "ScanWatch 2", tracker}, 95: {maker, "ScanWatch Light", tracker},
	100:  {maker, "WUP01", "Gateway"},
	1051: {"", "iOS step tracker", phone}, 1052: {"", "iOS step tracker", phone},
	1053: {"", "Android step tracker", phone}, 1054: {"", "Android step tracker", phone},
	1055: {"", "GoogleFit tracker", phone}, 1056: {"", "Samsung Health tracker", phone},
	1057: {"", "HealthKit step iPhone tracker", phone}, 1058: {"", "HealthKit step Apple Watch tracker", phone},
	1059: {"", "HealthKit other step tracker", phone}, 1060: {"", "Google Health Connect", phone},
	1061: {"", "iGlucose glucometer", "Glucose meter"}, 1062: {"", "Huawei tracker", phone},
	1063: {"", "Lingo Sensor", "Glucose sensor"},
}

// key identifies the device of the group: the hashed id, which every service of the
// API gives, else the plain one, else "".
func (g *group) key() string {
	if g.hashID.state == given {
		return g.hashID.s
	}
	return g.deviceID.s
}

// knowsModel reports whether the group tells what its device is.
func (g *group) knowsModel() bool { return g.model.state == given || g.modelID.state == given }

// device is the sensor of a group, or nil if the group tells nothing of it. A device
// without an id belongs to owner alone; without owner there is none.
func device(g, describedBy *group, owner fhir.Identifier) *devpb.Device {
	spec := fhir.DeviceSpec{Model: describedBy.model.s}
	for _, id := range []text{g.hashID, g.deviceID} {
		i := fhir.Identifier{System: deviceIDs, Value: id.s}
		if id.state == given && (len(spec.Identifiers) == 0 || spec.Identifiers[0] != i) {
			spec.Identifiers = append(spec.Identifiers, i)
		}
	}
	if len(spec.Identifiers) == 0 {
		if owner.IsZero() || !g.knowsModel() {
			return nil
		}
		spec.Owner = owner
	}
	if id := describedBy.modelID; id.state == given {
		known := models[id.n]
		spec.Manufacturer = known.maker
		if spec.Model == "" {
			spec.Model = known.name
		}
		spec.Type = fhir.Concept(known.kind, fhir.Coding(modelSystem, strconv.FormatInt(id.n, 10), known.name))
	}
	return fhir.NewDevice(spec)
}
