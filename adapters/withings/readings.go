package withings

import (
	"fmt"
	"strconv"
	"time"

	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// How a group was attributed to the user (attrib).
const (
	attribDevice    = 0
	attribAmbiguous = 1
	attribManual    = 2
	attribSetup     = 4 // by hand, when the account was made
	attribAverage   = 5
	attribConfirmed = 7
	attribDeviceToo = 8 // the same as 0
	attribGuided    = 15
)

// What a group is (category).
const (
	categoryMeasured = 1
	categoryGoal     = 2
)

// endOfTime is the first second of the year 10000, in which a dateTime cannot be.
const endOfTime = 253402300800

// maxZones is how many zone names of one payload are looked up.
const maxZones = 64

const (
	fixPatient = "state whose account this is: patient in the source's configuration, ?patient=system|value, or --patient system|value"
	fixFetch   = "fetch the measures again; if they come the same, report it to the vendor"
)

// converter is one conversion under way.
type converter struct {
	in  adapters.Payload
	doc document
	out adapters.Conversion

	zones     map[string]*time.Location // nil for a name that is no zone
	described map[string]*group         // by device id: the first group that knows the model
	devices   map[string]*devpb.Device
	codes     map[int64]coded
	told      map[string]bool // what a payload is warned of once
	listed    map[string]bool // ids of the devices in out
	slots     map[slot]claim
}

func newConverter(in adapters.Payload, doc document) *converter {
	c := &converter{
		in: in, doc: doc,
		zones:     map[string]*time.Location{},
		described: map[string]*group{},
		devices:   map[string]*devpb.Device{},
		codes:     map[int64]coded{},
		told:      map[string]bool{},
		listed:    map[string]bool{},
		slots:     map[slot]claim{},
	}
	c.out.Rows = doc.measures
	if doc.more {
		c.out.Warn(fhir.CodeIncomplete, doc.path()+"/more", "fetch the next page with the offset of the answer, and send it too",
			"the API has more measures than this answer")
	}
	for i := range doc.groups {
		g := &doc.groups[i]
		key := g.key()
		if key == "" || !g.knowsModel() {
			continue
		}
		if had := c.described[key]; had == nil {
			c.described[key] = g
		} else if had.model != g.model || had.modelID != g.modelID {
			c.once("model", fhir.CodeConflict, g.path()+"/model", fixFetch, "a device has two models in this payload; the first one is used")
		}
	}
	return c
}

// once warns of something unless the payload was warned of it.
func (c *converter) once(about, code, path, fix, format string, args ...any) {
	if !c.told[about] {
		c.told[about] = true
		c.out.Warn(code, path, fix, format, args...)
	}
}

// refusal is why measures give no reading.
type refusal struct {
	severity           fhir.Severity
	code, message, fix string
}

func (c *converter) skip(path string, r *refusal) {
	c.out.Skip(r.severity, r.code, path, r.fix, "%s", r.message)
}

// occasion is what the readings of a group share.
type occasion struct {
	*group
	at      *dtpb.DateTime
	subject fhir.Subject
	sensor  *devpb.Device
	method  *dtpb.CodeableConcept
	noFat   bool // the fat mass was left at zero when the weight was typed in
}

// group maps one measure group.
func (c *converter) group(g *group, f fate) {
	if len(g.measures) == 0 {
		c.out.Warn(fhir.CodeInformational, g.path()+"/measures", "if its measurement was deleted in the Withings app, delete the readings of the group",
			"the measure group has no measures")
		return
	}
	x, why := c.occasion(g, f)
	if why != nil {
		for n := range g.measures {
			c.skip(g.measurePath(n), why)
		}
		return
	}
	c.measures(x)
}

// occasion judges the group as a whole.
func (c *converter) occasion(g *group, f fate) (occasion, *refusal) {
	x := occasion{group: g}
	if why := judgeKind(g, f); why != nil {
		return x, why
	}
	if g.date.state != given || g.date.n <= 0 || g.date.n >= endOfTime {
		return x, &refusal{fhir.SevError, fhir.CodeInvalid, "the date of the measure group is missing or no number of seconds since 1970", fixFetch}
	}
	at := when.Epoch(time.Unix(g.date.n, 0), fhir.Second, c.zone(g))
	if err := at.Plausible(c.in.Received); err != nil {
		return x, &refusal{fhir.SevError, fhir.CodeInvalid, err.Error(), when.FixClock}
	}
	x.at = at.DateTime()
	x.subject.Patient = c.in.Source.Patient
	if !g.attrib.is(attribManual) && !g.attrib.is(attribSetup) {
		x.sensor = c.device(g)
	}
	if x.subject.Patient.IsZero() {
		if x.sensor == nil {
			return x, &refusal{fhir.SevError, fhir.CodeRequired, "the payload names no person and the measure group no device: nothing says whose reading this is", fixPatient}
		}
		x.subject.Device = x.sensor
	}
	c.attribution(&x)
	if f == newest {
		c.out.Warn(fhir.CodeConflict, g.path(), "", "the measure group occurs more than once with different content; the newest by modified is used")
	}
	return x, nil
}

// judgeKind refuses groups that are no measurement of this user, or not the one to use.
func judgeKind(g *group, f fate) *refusal {
	switch {
	case g.category.is(categoryGoal):
		return &refusal{fhir.Information, fhir.CodeInformational, "a goal of the user, not a measurement (category 2)", ""}
	case !g.category.is(categoryMeasured):
		return &refusal{fhir.SevError, fhir.CodeValue, "the category of the measure group is neither 1 (measured) nor 2 (goal)", fixFetch}
	case g.id.state != given:
		return &refusal{fhir.SevError, fhir.CodeRequired, "the measure group has no grpid that is an integer: a reading without it could not be recognised when it comes again", fixFetch}
	case f == repeated:
		return &refusal{fhir.Information, fhir.CodeDuplicate, "the measure group occurs twice with the same content", ""}
	case f == superseded:
		return &refusal{fhir.Information, fhir.CodeDuplicate, "the measure group occurs again with a later modified, which is used", ""}
	case f == contested:
		return &refusal{fhir.SevError, fhir.CodeConflict, "the measure group occurs twice with different content and nothing tells which is newer", fixFetch}
	case g.attrib.state != given:
		return &refusal{fhir.SevError, fhir.CodeRequired, "the measure group has no attrib that is an integer: nothing says whether it belongs to this user", fixFetch}
	case g.attrib.is(attribAmbiguous):
		return &refusal{fhir.SevError, fhir.CodeBusinessRule, "the measures may belong to another user of the device (attrib 1)",
			"let the user accept or reject the measurement in the Withings app, then fetch it again"}
	case g.deviceID.state == wrong || g.hashID.state == wrong:
		return &refusal{fhir.SevError, fhir.CodeValue, "the device id of the measure group is not a text, or too long", fixFetch}
	}
	return nil
}

// attribution tells how the measures came about.
func (c *converter) attribution(x *occasion) {
	switch x.attrib.n {
	case attribManual, attribSetup:
		x.method = fhir.SelfReported()
		if x.attrib.is(attribSetup) {
			c.once("setup", fhir.CodeInformational, x.path()+"/attrib", "", "measures were entered when the account was made; the vendor says that they may not be accurate")
		}
		for _, m := range x.measures {
			if (m.kind.is(typeFatMass) || m.kind.is(typeFatRatio)) && m.value.is(0) {
				x.noFat = true
			}
		}
		return
	case attribAverage:
		x.method = fhir.Concept("Computed by the device from repeated measurements")
	case attribConfirmed:
		x.method = fhir.Concept("Measured by a device, confirmed by the user")
	case attribGuided:
		x.method = fhir.Concept("Measured under guided conditions")
	case attribDevice, attribDeviceToo:
	default:
		c.once("attrib "+strconv.FormatInt(x.attrib.n, 10), fhir.CodeCodeInvalid, x.path()+"/attrib", "ask the vendor what this attrib means",
			"attrib %d is not documented; the measures of such groups are taken as those of a device", x.attrib.n)
	}
	if x.sensor == nil {
		c.once("device", fhir.CodeRequired, x.path()+"/deviceid", "", "a device took the measures, and the measure group does not say which")
	}
	if x.subject.Patient.IsZero() {
		c.once("patient", fhir.CodeRequired, "", fixPatient, "no patient: the payload names none, so the readings are about the device")
	}
}

// zone is where the readings of a group are shown: the instant is known without it.
func (c *converter) zone(g *group) *time.Location {
	name, stated := g.zone, g.path
	if name.state == absent {
		name, stated = c.doc.zone, c.doc.path
	}
	if name.state == absent {
		return c.in.Source.Zone
	}
	zone, known := c.zones[name.s]
	if !known && name.state == given && len(c.zones) < maxZones {
		zone, _ = when.ParseZone(name.s)
		c.zones[name.s] = zone
	}
	if zone == nil {
		c.once("zone", fhir.CodeValue, stated()+"/timezone", "", "the zone is not known; times are shown in UTC, which does not change the instant")
		return time.UTC
	}
	return zone
}

// device is the sensor of the group, made once.
func (c *converter) device(g *group) *devpb.Device {
	key, describedBy := g.key(), c.described[g.key()]
	if describedBy == nil {
		describedBy = g
	}
	if key == "" {
		key = fmt.Sprintf("model %s %d", g.model.s, g.modelID.n)
	}
	d, known := c.devices[key]
	if !known {
		d = device(g, describedBy, c.in.Source.Patient)
		c.devices[key] = d
	}
	return d
}

// slot is what can be measured once in a group.
type slot struct {
	kind     int64
	position integer
}

// claim tells which measure of the group has a slot.
type claim struct {
	by        int
	contested bool // two measures with different values want it
	mapped    bool
}

// measures maps the measures of a group.
func (c *converter) measures(x occasion) {
	clear(c.slots)
	refusals := make([]*refusal, len(x.measures))
	for n := range x.measures {
		m := &x.measures[n]
		if refusals[n] = judgeMeasure(x, m); refusals[n] != nil {
			continue
		}
		s := slot{m.kind.n, m.position}
		had, taken := c.slots[s]
		if !taken {
			c.slots[s] = claim{by: n}
			continue
		}
		first := &x.measures[had.by]
		if sameNumber(first.value.n, int(first.unit.n), m.value.n, int(m.unit.n)) {
			refusals[n] = &refusal{fhir.Information, fhir.CodeDuplicate, "the measure occurs twice in its group with the same value", ""}
			continue
		}
		had.contested = true
		c.slots[s] = had
	}
	for n := range x.measures {
		m := &x.measures[n]
		s := slot{m.kind.n, m.position}
		switch {
		case refusals[n] == nil && c.slots[s].contested:
			refusals[n] = &refusal{fhir.SevError, fhir.CodeConflict, "the measure occurs twice in its group with different values and nothing tells which is right", fixFetch}
			fallthrough
		case refusals[n] != nil:
			c.skip(x.measurePath(n), refusals[n])
		default:
			c.out.Mapped++
			c.reading(x, n, s)
		}
	}
}

// judgeMeasure refuses measures that cannot be read, or are none.
func judgeMeasure(x occasion, m *measure) *refusal {
	if m.malformed {
		return &refusal{fhir.SevError, fhir.CodeStructure, "the measure is not an object", fixFetch}
	}
	if m.kind.state != given || m.value.state != given || m.unit.state != given {
		return &refusal{fhir.SevError, fhir.CodeStructure, "type, value and unit of the measure are not all integers of at most 18 digits", fixFetch}
	}
	if m.unit.n < -maxExponent || m.unit.n > maxExponent {
		return &refusal{fhir.SevError, fhir.CodeValue, "unit, the power of ten, is not between -20 and 20", fixFetch}
	}
	if m.position.state == wrong {
		return &refusal{fhir.SevError, fhir.CodeStructure, "the position of the measure is not an integer", fixFetch}
	}
	kind, known := measureTypes[m.kind.n]
	switch {
	case !known:
		return &refusal{fhir.SevError, fhir.CodeNotSupported, fmt.Sprintf("the measure type %d is not known to this adapter", m.kind.n),
			"ask for the type to be added, then replay the payload"}
	case kind.segment && m.position.state != given:
		return &refusal{fhir.SevError, fhir.CodeRequired, "the measure is of a part of the body and has no position that says which", fixFetch}
	case x.noFat && (m.kind.is(typeFatMass) || m.kind.is(typeFatRatio)) && m.value.is(0):
		return &refusal{fhir.Information, fhir.CodeInformational, "the user entered a weight and no body fat: zero is no reading", ""}
	case x.noFat && m.kind.is(typeFatFree):
		return &refusal{fhir.Information, fhir.CodeInformational, "the fat-free mass was reckoned from a body fat that was not entered", ""}
	case kind.positive && m.value.n <= 0:
		return &refusal{fhir.SevError, fhir.CodeValue, "the value is zero or below, which this measure of a living person cannot be", fixFetch}
	}
	return nil
}

// reading adds the observation of the nth measure, which has slot s.
func (c *converter) reading(x occasion, n int, s slot) {
	if c.slots[s].mapped {
		return // as the other part of a blood pressure
	}
	m, kind := &x.measures[n], measureTypes[s.kind]
	same := strconv.FormatInt(s.kind, 10)
	if kind.form == pressure {
		same = "blood pressure"
	}
	r := fhir.Reading{
		Subject:  x.subject,
		Device:   x.sensor,
		At:       x.at,
		Method:   x.method,
		BodySite: c.bodySite(x, n),
		Category: kind.category,
		// The time is left out: a group that the user dates anew stays the same group.
		Same: []string{strconv.FormatInt(x.id.n, 10), same, positionKey(m.position)},
	}
	c.out.AddPatient(x.subject.Patient)
	c.list(x.sensor)
	switch kind.form {
	case pressure:
		c.bloodPressure(x, n, s, r)
		return
	case classification:
		r.Concept = c.finding(x, n)
	default:
		r.Quantity = c.quantity(x, n)
	}
	code := c.code(s.kind)
	r.Code = code.concept
	if code.vital != "" {
		c.out.Observations = append(c.out.Observations, fhir.VitalSign(r, string(code.vital), code.vital.Allows))
		return
	}
	c.out.Observations = append(c.out.Observations, r.Observation())
}

// list adds the device of a reading to the conversion unless it is there.
func (c *converter) list(d *devpb.Device) {
	if id := d.GetId().GetValue(); d != nil && !c.listed[id] {
		c.listed[id] = true
		c.out.Devices = append(c.out.Devices, d)
	}
}

// bloodPressure adds one observation of the systolic and diastolic pressure of a group.
func (c *converter) bloodPressure(x occasion, n int, s slot, r fhir.Reading) {
	other := slot{typeSystolic, s.position}
	if s.kind == typeSystolic {
		other.kind = typeDiastolic
	}
	p := fhir.Pressures{
		Systolic: c.quantity(x, n), SystolicCode: c.code(typeSystolic).concept, DiastolicCode: c.code(typeDiastolic).concept,
		Reason: "unknown",
	}
	if claim, there := c.slots[other]; there && !claim.contested {
		p.Diastolic = c.quantity(x, claim.by)
		claim.mapped = true
		c.slots[other] = claim
	} else {
		c.out.Warn(fhir.CodeRequired, x.measurePath(n), "", "the blood pressure has only one of systolic and diastolic")
	}
	if s.kind == typeDiastolic {
		p.Systolic, p.Diastolic = p.Diastolic, p.Systolic
	}
	c.out.Observations = append(c.out.Observations, fhir.BloodPressure(r, p))
}

// coded is what the vocabulary makes of a measure type.
type coded struct {
	concept *dtpb.CodeableConcept
	vital   vocabulary.Profile
	ucum    string // "" if the vocabulary does not know the unit
}

// code has LOINC and MDC where the vocabulary maps them, and always the vendor's type.
func (c *converter) code(kind int64) coded {
	if known, ok := c.codes[kind]; ok {
		return known
	}
	t := measureTypes[kind]
	made := coded{concept: fhir.Concept(t.name)}
	if t.loinc != "" {
		if metric, ok := vocabulary.ByLOINC(t.loinc); ok {
			made.concept, made.vital = metric.Code(t.ucum), metric.VitalSign
		}
	}
	made.concept.Coding = append(made.concept.Coding, fhir.Coding(typeSystem, strconv.FormatInt(kind, 10), t.name))
	if _, ok := vocabulary.UnitByUCUM(t.ucum); ok {
		made.ucum = t.ucum
	}
	c.codes[kind] = made
	return made
}

// quantity is the value of the nth measure in the unit of its type.
func (c *converter) quantity(x occasion, n int) *dtpb.Quantity {
	m := &x.measures[n]
	kind, exponent := measureTypes[m.kind.n], int(m.unit.n)
	if m.kind.is(typeHeight) {
		exponent += 2 // metres to centimetres, which the vital sign is in: the same digits
	}
	ucum := c.code(m.kind.n).ucum
	switch {
	case kind.ucum == "":
		c.once("unit "+kind.name, fhir.CodeInformational, x.measurePath(n), "", "the vendor does not publish the unit of measure type %d; its value is given without one", m.kind.n)
	case ucum == "":
		c.once("unit "+kind.name, fhir.CodeInformational, x.measurePath(n), "", "the unit of measure type %d is given as text, without a UCUM code", m.kind.n)
	}
	return fhir.Quantity(decimal(m.value.n, exponent), kind.unit, ucum)
}

// finding is the value of the nth measure, which is a number that stands for a result.
func (c *converter) finding(x occasion, n int) *dtpb.CodeableConcept {
	m := &x.measures[n]
	number, system, means := decimal(m.value.n, int(m.unit.n)), afibPPGSystem, ""
	if m.kind.is(typeAFib) {
		system = afibSystem
		if m.unit.is(0) {
			means = display(afibResults, m.value.n)
		}
	}
	if means == "" {
		c.once("finding "+system, fhir.CodeCodeInvalid, x.measurePath(n), "ask the vendor what the number means", "the vendor does not publish what this result of measure type %d means; the number is kept as a code", m.kind.n)
	}
	return fhir.Concept("", fhir.Coding(system, number, means))
}

// bodySite is the position of the nth measure.
func (c *converter) bodySite(x occasion, n int) *dtpb.CodeableConcept {
	position := x.measures[n].position
	if position.state != given {
		return nil
	}
	name := display(positions, position.n)
	if name == "" {
		c.once("position", fhir.CodeCodeInvalid, x.measurePath(n)+"/position", "ask the vendor what the position means", "the position is not documented; its number is kept as a code")
	}
	return fhir.Concept(name, fhir.Coding(positionSystem, strconv.FormatInt(position.n, 10), name))
}

func positionKey(position integer) string {
	if position.state != given {
		return ""
	}
	return strconv.FormatInt(position.n, 10)
}
