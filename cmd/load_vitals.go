package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// The synthetic patients and devices of kiln load. Their identifiers name no real system, and
// every reading carries that of its patient: none can be mistaken for a real one.
const (
	loadPatients = fhir.Namespace + "load-patient"
	loadDevices  = fhir.Namespace + "load-device"
)

const minutesPerDay = 24 * 60

// course is how a value goes: a level of each patient's own within ± spread of mean, a slow
// drift of ± swing around it, and ± noise. All are in units of the last decimal: 367 with one
// decimal is 36.7. There are no floats, which are not the same on every machine.
type course struct {
	mean, spread, swing, noise int64
	period                     int64 // of the drift, in minutes
	low, high                  int64
}

// at is the value at a minute; level tells patients apart, and moment also moments.
func (c *course) at(level, moment uint64, minute int64) int64 {
	v := c.mean + within(level, c.spread) + within(moment, c.noise)
	phase := (minute + int64(level>>32)%c.period) % c.period
	// A triangle from -swing to swing and back.
	v += c.swing * (4*min(phase, c.period-phase) - c.period) / c.period
	return min(max(v, c.low), c.high)
}

// within is a number from -most to most.
func within(random uint64, most int64) int64 { return int64(random>>1)%(2*most+1) - most }

// mix makes numbers that look random of numbers that follow each other (splitmix64).
func mix(n uint64) uint64 {
	n += 0x9E3779B97F4A7C15
	n = (n ^ n>>30) * 0xBF58476D1CE4E5B9
	n = (n ^ n>>27) * 0x94D049BB133111EB
	return n ^ n>>31
}

// vital is one thing that is measured of every patient.
type vital struct {
	every    int64  // minutes
	device   string // which of the patient's devices it comes from
	decimals int
	course   course
	codings  []coding // the first of them is part of the id of a reading
	text     string
	profile  string // of R4's vital signs; without one it is a laboratory value
	unit     string
	ucum     string
}

type coding struct{ system, code, display string }

// Devices of a patient.
const (
	loadMonitor = "monitor"
	loadSensor  = "cgm"
	loadScale   = "scale" // several share one
)

const patientsPerScale = 20

// bloodPressure is the profile whose reading has three values.
const bloodPressure = "bp"

// vitals are what is measured, and how often: every period divides a day.
func vitals() []vital {
	return []vital{
		{
			every: 1, device: loadMonitor, course: course{76, 14, 9, 3, 200, 35, 190},
			text: "Heart rate", profile: "heartrate", unit: "beats/min", ucum: "/min",
			codings: []coding{{fhir.LOINC, "8867-4", "Heart rate"}, {fhir.MDC, "147842", "MDC_ECG_CARD_BEAT_RATE"}},
		},
		{
			every: 1, device: loadMonitor, course: course{97, 2, 1, 1, 310, 80, 100},
			text: "Oxygen saturation by pulse oximetry", profile: "oxygensat", unit: "%", ucum: "%",
			codings: []coding{
				{fhir.LOINC, "59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"},
				{fhir.LOINC, "2708-6", "Oxygen saturation in Arterial blood"}, {fhir.MDC, "150456", "MDC_PULS_OXIM_SAT_O2"},
			},
		},
		{
			every: 1, device: loadMonitor, course: course{15, 3, 2, 1, 170, 6, 40},
			text: "Respiratory rate", profile: "resprate", unit: "breaths/min", ucum: "/min",
			codings: []coding{{fhir.LOINC, "9279-1", "Respiratory rate"}, {fhir.MDC, "151562", "MDC_RESP_RATE"}},
		},
		{
			every: 5, device: loadSensor, course: course{125, 30, 35, 4, 240, 45, 390},
			text: "Glucose in interstitial fluid", unit: "mg/dL", ucum: "mg/dL",
			codings: []coding{{fhir.LOINC, "99504-3", "Glucose [Mass/volume] in Interstitial fluid"}},
		},
		{
			every: 15, device: loadMonitor, course: course{124, 16, 9, 4, minutesPerDay, 75, 220},
			text: "Blood pressure", profile: bloodPressure, unit: "mmHg", ucum: "mm[Hg]",
			codings: []coding{{fhir.LOINC, "85354-9", "Blood pressure panel with all children optional"}, {fhir.MDC, "150020", "MDC_PRESS_BLD_NONINV"}},
		},
		{
			every: 60, device: loadMonitor, decimals: 1, course: course{368, 4, 4, 1, minutesPerDay, 345, 410},
			text: "Body temperature", profile: "bodytemp", unit: "Cel", ucum: "Cel",
			codings: []coding{{fhir.LOINC, "8310-5", "Body temperature"}, {fhir.MDC, "150364", "MDC_TEMP_BODY"}},
		},
		{
			every: minutesPerDay, device: loadScale, decimals: 2, course: course{7650, 2400, 150, 25, 60 * minutesPerDay, 3500, 20000},
			text: "Body weight", profile: "bodyweight", unit: "kg", ucum: "kg",
			codings: []coding{{fhir.LOINC, "29463-7", "Body weight"}, {fhir.MDC, "188736", "MDC_MASS_BODY_ACTUAL"}},
		},
	}
}

// pressureParts are systolic, diastolic and mean pressure.
func pressureParts() [3][]coding {
	return [3][]coding{
		{{fhir.LOINC, "8480-6", "Systolic blood pressure"}, {fhir.MDC, "150021", "MDC_PRESS_BLD_NONINV_SYS"}},
		{{fhir.LOINC, "8462-4", "Diastolic blood pressure"}, {fhir.MDC, "150022", "MDC_PRESS_BLD_NONINV_DIA"}},
		{{fhir.LOINC, "8478-0", "Mean blood pressure"}, {fhir.MDC, "150023", "MDC_PRESS_BLD_NONINV_MEAN"}},
	}
}

// parts is how many values a reading has.
func (s *vital) parts() int {
	if s.profile == bloodPressure {
		return 3
	}
	return 1
}

// values are those of a patient at a minute.
func (s *vital) values(level, moment uint64, minute int64) (out [3]int64) {
	v := s.course.at(level, moment, minute)
	if s.profile != bloodPressure {
		return [3]int64{v}
	}
	diastolic := v*64/100 + within(mix(moment), 3)
	return [3]int64{v, diastolic, diastolic + (v-diastolic)/3}
}

// observation is a reading as the adapters make it: slow, and what the templates are made of.
func (s *vital) observation(r fhir.Reading, values []string) proto.Message {
	r.Code = fhir.Concept(s.text)
	for _, c := range s.codings {
		r.Code.Coding = append(r.Code.Coding, fhir.Coding(c.system, c.code, c.display))
	}
	switch s.profile {
	case "":
		r.Category = "laboratory"
		r.Quantity = fhir.Quantity(values[0], s.unit, s.ucum)
		return r.Observation()
	case bloodPressure:
		parts := pressureParts()
		p := fhir.Pressures{
			Systolic: fhir.Quantity(values[0], s.unit, s.ucum), SystolicCode: fhir.Concept(parts[0][0].display),
			Diastolic: fhir.Quantity(values[1], s.unit, s.ucum), DiastolicCode: fhir.Concept(parts[1][0].display),
			Mean: fhir.Quantity(values[2], s.unit, s.ucum), MeanCode: fhir.Concept(parts[2][0].display),
		}
		for i := range parts[0] {
			s, d, m := parts[0][i], parts[1][i], parts[2][i]
			p.SystolicCode.Coding = append(p.SystolicCode.Coding, fhir.Coding(s.system, s.code, s.display))
			p.DiastolicCode.Coding = append(p.DiastolicCode.Coding, fhir.Coding(d.system, d.code, d.display))
			p.MeanCode.Coding = append(p.MeanCode.Coding, fhir.Coding(m.system, m.code, m.display))
		}
		return fhir.BloodPressure(r, p)
	}
	r.Quantity = fhir.Quantity(values[0], s.unit, s.ucum)
	return fhir.VitalSign(r, s.profile, func(code string) bool { return code == s.ucum })
}

// template is the JSON of an observation with gaps: literals[i] comes before gaps[i], and the last
// literal after them.
type template struct {
	vital
	literals [][]byte
	gaps     []gap
}

// gap is what is put in: the value of that number, or one of these.
type gap int

const (
	gapID gap = -1 - iota
	gapPatient
	gapPatientID
	gapDevice
	gapTime
)

// newTemplate builds an observation as an adapter would, and finds what will change in it.
func newTemplate(s vital, zone *time.Location) (*template, error) {
	patient := fhir.Identifier{System: loadPatients, Value: "the pattern of a patient"}
	device := fhir.NewDevice(fhir.DeviceSpec{Serial: "the pattern of a device"})
	at := time.Date(2001, 2, 3, 4, 5, 6, 0, zone)
	values := make([]string, s.parts())
	marks := map[string]gap{
		patient.Value: gapPatient, fhir.PatientID(patient): gapPatientID,
		device.GetId().GetValue(): gapDevice, at.Format(time.RFC3339): gapTime,
	}
	for i := range values {
		values[i] = strconv.Itoa(987654321 + i)
		marks[values[i]] = gap(i)
	}
	body, err := fhir.Encode(s.observation(fhir.Reading{Subject: fhir.Subject{Patient: patient}, Device: device, At: fhir.DateTime(at, fhir.Second)}, values))
	if err != nil {
		return nil, err
	}
	_, id, _, err := fhir.Parse(body)
	if err != nil {
		return nil, err
	}
	marks[id] = gapID
	t := &template{vital: s}
	for {
		next, which := -1, ""
		for mark := range marks {
			if i := bytes.Index(body, []byte(mark)); i >= 0 && (next < 0 || i < next) {
				next, which = i, mark
			}
		}
		if next < 0 {
			t.literals = append(t.literals, body)
			return t, nil
		}
		t.literals = append(t.literals, body[:next])
		t.gaps = append(t.gaps, marks[which])
		body = body[next+len(which):]
	}
}

// ward is what kiln load makes up: patients, their devices, and what those measure. The same
// ward always has the same readings, and one with more observations has those of one with less.
type ward struct {
	patients, observations int64
	seed                   uint64
	until                  time.Time
	templates              []*template
	day                    int64 // readings of a day
	minutes                int64 // until which readings go back
	skip                   int64 // readings of the first of these minutes that are too many
}

func newWard(patients, observations int64, seed uint64, until time.Time) (*ward, error) {
	w := &ward{patients: patients, observations: observations, seed: seed, until: until.Truncate(time.Second)}
	for _, s := range vitals() {
		t, err := newTemplate(s, w.until.Location())
		if err != nil {
			return nil, fmt.Errorf("a template of %s: %w", s.text, err)
		}
		w.templates = append(w.templates, t)
		w.day += patients * minutesPerDay / s.every
	}
	left := observations % w.day
	w.minutes = observations / w.day * minutesPerDay
	for left > 0 {
		left -= w.count(w.minutes)
		w.minutes++
	}
	w.skip = -left
	if w.first().Year() < 1900 {
		return nil, errors.New("the readings would go back to before 1900: take more patients")
	}
	return w, nil
}

// first is about when the first reading is.
func (w *ward) first() time.Time {
	days, minutes := w.minutes/minutesPerDay, w.minutes%minutesPerDay
	if days > 100_000 {
		return time.Time{}
	}
	return w.until.AddDate(0, 0, -int(days)).Add(-time.Duration(minutes) * time.Minute)
}

// count is how many readings there are in a minute, counted back from the end.
func (w *ward) count(minute int64) int64 {
	var n int64
	for _, t := range w.templates {
		// Patient p is due when minute + p is a multiple of the period.
		first := (t.every - minute%t.every) % t.every
		if first < w.patients {
			n += (w.patients-1-first)/t.every + 1
		}
	}
	return n
}

// bed is a patient with what a reading of theirs says.
type bed struct {
	number  string
	id      string
	devices map[string]string // ids
	second  int64             // of the minute
	random  uint64
}

func loadPatient(number string) fhir.Identifier {
	return fhir.Identifier{System: loadPatients, Value: number}
}

// name is what tells the patients and devices of wards apart that have another seed.
func (w *ward) name(kind string, number int64) string {
	return fmt.Sprintf("%s-%d-%07d", kind, w.seed, number)
}

func (w *ward) device(kind string, p int64) fhir.DeviceSpec {
	spec := fhir.DeviceSpec{Manufacturer: "Kiln load"}
	switch kind {
	case loadMonitor:
		spec.Model, spec.Type = "Synthetic monitor", fhir.Concept("Patient monitor", fhir.Coding(fhir.MDC, "69965", "MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS"))
	case loadSensor:
		spec.Model, spec.Type = "Synthetic glucose sensor", fhir.Concept("Continuous glucose monitor")
	case loadScale:
		p /= patientsPerScale
		spec.Model, spec.Type = "Synthetic scale", fhir.Concept("Scale")
	}
	spec.Serial = w.name(kind, p)
	spec.Identifiers = []fhir.Identifier{{System: loadDevices, Value: spec.Serial}}
	return spec
}

// resources are the patient and the devices, but not a scale that another brings along.
func (w *ward) resources(p int64) ([]store.Change, error) {
	i := loadPatient(w.name("patient", p))
	r := mix(w.seed ^ mix(uint64(p)))
	gender := [...]string{"female", "male"}[r%2]
	born := time.Date(1930, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(r>>8%(75*365)))
	out := []store.Change{{Key: fhir.Key{Type: "Patient", ID: fhir.PatientID(i)}, JSON: fmt.Appendf(nil,
		`{"resourceType":"Patient","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST","display":"test health data"}]},`+
			`"identifier":[{"system":%q,"value":%q}],"active":true,"name":[{"family":"Synthetic","given":[%q]}],"gender":%q,"birthDate":%q}`,
		i.System, i.Value, i.Value, gender, born.Format(time.DateOnly))}}
	for _, kind := range []string{loadMonitor, loadSensor, loadScale} {
		if kind == loadScale && p%patientsPerScale != 0 {
			continue
		}
		d := fhir.NewDevice(w.device(kind, p))
		body, err := fhir.Encode(d)
		if err != nil {
			return nil, err
		}
		out = append(out, store.Change{Key: fhir.Key{Type: "Device", ID: d.GetId().GetValue()}, JSON: body})
	}
	return out, nil
}

func (w *ward) bed(p int64) bed {
	number := w.name("patient", p)
	r := mix(w.seed ^ mix(uint64(p)))
	b := bed{number: number, id: fhir.PatientID(loadPatient(number)), devices: map[string]string{}, second: int64(r >> 40 % 60), random: r}
	for _, kind := range []string{loadMonitor, loadSensor, loadScale} {
		b.devices[kind] = fhir.NewDevice(w.device(kind, p)).GetId().GetValue()
	}
	return b
}

// each calls f with every observation, oldest first, and the one after it only once it
// returned; what it is given is its own. It ends with the first error of f.
func (w *ward) each(f func(store.Change) error) error {
	beds := make([]bed, w.patients)
	for p := range beds {
		beds[p] = w.bed(int64(p))
	}
	g := generator{ward: w}
	skip := w.skip
	for minute := w.minutes - 1; minute >= 0; minute-- {
		for p := range beds {
			for n, t := range w.templates {
				if (minute+int64(p))%t.every != 0 {
					continue
				}
				if skip > 0 {
					skip--
					continue
				}
				if err := f(g.reading(t, n, &beds[p], minute)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// generator writes observations into large pieces of memory.
type generator struct {
	ward    *ward
	arena   []byte
	time    []byte
	values  [3][]byte
	instant int64 // of time, in seconds
}

const (
	arenaBytes      = 1 << 20
	observationMost = 4 << 10 // bytes of one
)

// reading is the observation of a vital sign, which is the nth, of a patient at a minute.
func (g *generator) reading(t *template, n int, b *bed, minute int64) store.Change {
	instant := g.ward.until.Unix() - minute*60 - b.second
	if instant != g.instant || g.time == nil {
		g.instant = instant
		g.time = time.Unix(instant, 0).In(g.ward.until.Location()).AppendFormat(g.time[:0], time.RFC3339)
	}
	level := mix(b.random + uint64(n))
	// Minutes are those of the calendar, so that a reading has the same value whenever the ward ends.
	calendar := instant / 60
	values := t.values(level, mix(level^uint64(calendar)), calendar)
	for i := range t.parts() {
		g.values[i] = appendFixed(g.values[i][:0], values[i], t.decimals)
	}
	device := b.devices[t.device]
	code := t.codings[0]
	id := fhir.HashID("Observation", device, "Patient/"+b.id, code.system+"|"+code.code, strconv.FormatInt(instant*1_000_000, 10))

	if cap(g.arena)-len(g.arena) < observationMost {
		g.arena = make([]byte, 0, arenaBytes)
	}
	start := len(g.arena)
	out := g.arena
	for i, what := range t.gaps {
		out = append(out, t.literals[i]...)
		switch what {
		case gapID:
			out = append(out, id...)
		case gapPatient:
			out = append(out, b.number...)
		case gapPatientID:
			out = append(out, b.id...)
		case gapDevice:
			out = append(out, device...)
		case gapTime:
			out = append(out, g.time...)
		default:
			out = append(out, g.values[what]...)
		}
	}
	out = append(out, t.literals[len(t.gaps)]...)
	g.arena = out
	return store.Change{Key: fhir.Key{Type: "Observation", ID: id}, JSON: out[start:len(out):len(out)]}
}

// appendFixed appends n with some decimals: 367 with one is 36.7. It is not negative.
func appendFixed(dst []byte, n int64, decimals int) []byte {
	start := len(dst)
	dst = strconv.AppendInt(dst, n, 10)
	if decimals == 0 {
		return dst
	}
	for len(dst)-start <= decimals {
		dst = append(dst[:start], append([]byte{'0'}, dst[start:]...)...)
	}
	point := len(dst) - decimals
	dst = append(dst, 0)
	copy(dst[point+1:], dst[point:])
	dst[point] = '.'
	return dst
}
