package ihepcd

import (
	"time"

	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// report is one message.
type report struct {
	work     *work
	message  hl7v2.Message
	sender   sender
	test     bool           // MSH-11: training or debugging
	offset   *time.Location // of MSH-7, nil where it has none
	sent     time.Time      // MSH-7, zero where it has no offset
	patients []*patient
	orders   []*order
	moments  map[string]moment
	warned   map[string]bool
	own      map[string]equipment     // by the field as written
	modules  map[string]*devpb.Device // of rows that name their own, by field and parent
	told     map[string]bool          // equipment that has a row of its own
}

// order is an OBR segment and the rows under it.
type order struct {
	obr      hl7v2.Segment
	patient  *patient // nil where no PID precedes
	location string   // PV1-3 as written, if it names a bed
	rows     []*row
	nodes    map[part]*node
	parents  map[place]parent // what became of the metrics, for their facets
	measured map[part]bool    // parts under which a reading was mapped
}

// parent is the metric that facets belong to: a draft, or why there is none.
type parent struct {
	draft   *draft
	problem *problem
}

// newReport takes a message apart into orders and rows.
func newReport(w *work, m hl7v2.Message) *report {
	r := &report{work: w, message: m, sender: readSender(m.Header()), moments: map[string]moment{}, warned: map[string]bool{},
		own: map[string]equipment{}, modules: map[string]*devpb.Device{}}
	mode := trim(m.Header().Field(11).Component(1).Value())
	r.test = mode == "T" || mode == "D"
	r.readSent()
	var who *patient
	location := ""
	var current *order
	for _, s := range m.Segments[1:] {
		switch s.Name {
		case "PID":
			who, location, current = w.readPatient(s, m.Header()), "", nil
			r.patients = append(r.patients, who)
		case "PV1":
			location = bed(s.Field(3))
		case "OBR":
			current = &order{obr: s, patient: who, location: location}
			r.orders = append(r.orders, current)
		case "OBX":
			if current == nil {
				current = &order{obr: hl7v2.Segment{Name: "OBR"}, patient: who, location: location}
				r.orders = append(r.orders, current)
			}
			current.rows = append(current.rows, newRow(s, w.code(s.Field(3))))
		case "PRT":
			if current != nil && len(current.rows) > 0 {
				last := current.rows[len(current.rows)-1]
				last.prt = append(last.prt, s)
			}
		}
	}
	return r
}

// bed is PV1-3 if it names a bed; a ward or a room does not tell one monitor from
// another.
func bed(pl hl7v2.Field) string {
	if pl.Component(3).IsEmpty() {
		return ""
	}
	return line(pl.Component(1).Text() + "^" + pl.Component(2).Text() + "^" + pl.Component(3).Text() + "^" + pl.Component(4).Text())
}

func (r *report) warnOnce(topic, code, path, fix, message string) {
	if r.warned[topic] {
		return
	}
	r.warned[topic] = true
	r.work.Warn(code, path, fix, "%s", message)
}

// skip records why a row gave nothing.
func (w *work) skip(x *row, p *problem) {
	path := x.Path()
	if p.field > 0 {
		path = x.FieldPath(p.field)
	}
	w.Skip(p.severity, p.code, path, p.fix, "%s", p.message)
}

// convert maps the rows of the message.
func (r *report) convert() {
	if r.message.Guessed {
		r.warnOnce("charset", fhir.CodeInvalid, r.message.Header().FieldPath(18), "send UNICODE UTF-8 and say so in MSH-18", "the character set is not stated and the text is not UTF-8; it is read as 8859/1")
	}
	var before *order
	for _, o := range r.orders {
		r.work.Rows += len(o.rows)
		if o.patient != nil && o.patient.problem != nil {
			for _, x := range o.rows {
				p := *o.patient.problem
				p.field, p.message = 0, o.patient.segment.FieldPath(p.field)+": "+p.message
				r.work.skip(x, &p)
			}
			continue
		}
		r.readParts(o, before)
		for _, x := range o.rows {
			r.convertRow(o, x)
		}
		r.settleHeadings(o)
		before = o
	}
}

// subject is whom the readings of an order are about, zero when nobody is named.
func (r *report) subject(o *order) fhir.Identifier {
	if o.patient != nil && len(o.patient.candidates) > 0 {
		return o.patient.resolved
	}
	return r.work.payload.Source.Patient
}

// about is the subject of a reading: the patient, or where nobody is named the device.
func (r *report) about(o *order, x *row, equipment *devpb.Device) fhir.Subject {
	if patient := r.subject(o); !patient.IsZero() {
		return fhir.Subject{Patient: patient}
	}
	if !r.work.orphaned {
		r.work.orphaned = true
		r.work.Warn(fhir.CodeRequired, x.Path(), "state the patient: patient=system|value in the source's configuration; or send PID-3",
			"no patient is named; the readings are about the device")
	}
	return fhir.Subject{Device: equipment}
}

// convertRow maps one row that is not part of the device tree, which readParts maps.
func (r *report) convertRow(o *order, x *row) {
	switch x.kind {
	case device, heading, attribute:
		return
	case deviceClock:
		r.checkClock(x)
		r.work.skip(x, &problem{fhir.Information, fhir.CodeInformational, 3, "the row describes the clock of the device", ""})
	case facet:
		parent, ok := o.parents[x.place.metric()]
		if ok && !parent.measures(x) {
			r.convertFacet(x, parent)
			return
		}
		r.convertMetric(o, x)
		if ok {
			o.parents[x.place.metric()] = parent
		}
	default:
		r.convertMetric(o, x)
	}
}

// measures tells that a facet has the code of its metric. It is then a reading of its
// own: a component must not have the code of an Observation that has a value.
// http://hl7.org/fhir/R4/observation.html#invs (obs-7)
func (p parent) measures(x *row) bool {
	return p.draft != nil && p.draft.rows[0].code.name() == x.code.name()
}

// convertFacet adds a row to the metric that it tells something about.
func (r *report) convertFacet(x *row, to parent) {
	if to.problem != nil {
		r.work.skip(x, &problem{to.problem.severity, to.problem.code, 4, "the row belongs to a metric that was not mapped", to.problem.fix})
		return
	}
	d := to.draft
	if d.wave != nil && d.wave.take(x) {
		d.rows = append(d.rows, x)
		return
	}
	if p := unusable(x); p != nil {
		r.work.skip(x, p)
		return
	}
	if isWave(x.Segment) {
		r.work.skip(x, &problem{fhir.Information, fhir.CodeNotSupported, 2, "an array about a metric is not converted", ""})
		return
	}
	v, u, p := r.readValue(x.Segment, x.code.metric)
	if p != nil {
		r.work.skip(x, p)
		return
	}
	q := readQuality(x.Field(8))
	if q.absent != "" {
		v.clear(q.absent)
	}
	c := v.component(r.work.concept(x.Field(3), u.code))
	c.Interpretation = q.interpretation
	d.reading.Components = append(d.reading.Components, c)
	d.rows = append(d.rows, x)
	d.warnings = append(d.warnings, warnings(x, append(v.doubts, x.doubts(q)...))...)
}

// convertMetric makes a draft of a row.
func (r *report) convertMetric(o *order, x *row) {
	d, p := r.draft(o, x)
	if o.parents == nil {
		o.parents = map[place]parent{}
	}
	if p != nil {
		r.work.skip(x, p)
		o.parents[x.place.metric()] = parent{problem: p}
		return
	}
	if o.measured == nil {
		o.measured = map[part]bool{}
	}
	o.measured[x.place.owner()] = true
	o.parents[x.place.metric()] = parent{draft: d}
}

// unusable refuses a row that does not say what was observed, or in which a field other
// than the value is absurdly long.
func unusable(x *row) *problem {
	if x.code.isEmpty() {
		return &problem{fhir.SevError, fhir.CodeRequired, 3, "the row does not say what was observed", "send the MDC code of the metric"}
	}
	for n := 1; n <= x.Fields(); n++ {
		if n != 5 && len(x.Field(n).Raw()) > maxField {
			return &problem{fhir.SevError, fhir.CodeTooLong, n, "the field is longer than 4096 bytes", ""}
		}
	}
	return nil
}

// draft is an Observation to be. Several rows make one where they are the parts of a
// blood pressure, or facets.
type draft struct {
	reading  fhir.Reading
	rows     []*row
	profile  vocabulary.Profile
	setting  bool
	ranges   []*obpb.Observation_ReferenceRange
	quality  quality
	value    value
	test     bool
	wave     *wave
	pressure *pressure
	warnings []fhir.Issue
	message  int
}

// draft reads a metric row.
func (r *report) draft(o *order, x *row) (*draft, *problem) {
	if p := unusable(x); p != nil {
		return nil, p
	}
	at, p := r.timeOf(o, x)
	if p != nil {
		return nil, p
	}
	d := &draft{rows: []*row{x}, test: r.test, message: r.message.Number}
	u := unit{}
	if isWave(x.Segment) && x.hasValue() {
		if d.wave, p = r.readWave(o, x); p != nil {
			return nil, p
		}
	} else if d.value, u, p = r.readValue(x.Segment, x.code.metric); p != nil {
		return nil, p
	}
	d.quality = readQuality(x.Field(8))
	d.judge()
	status, statusDoubt := readStatus(x.Segment, d.wave != nil || !d.value.isEmpty())
	ucum := u.code
	if d.value.isEmpty() && u.text == "" {
		ucum = x.code.metric.UCUM // what is absent has the unit that it would have had
	}

	equipment, p := r.equipmentOf(o, x)
	if p != nil {
		return nil, p
	}
	d.reading = fhir.Reading{
		Code:           r.work.concept(x.Field(3), ucum),
		Status:         status,
		Subject:        r.about(o, x, equipment),
		Device:         equipment,
		At:             at.DateTime(),
		Quantity:       d.value.quantity,
		Concept:        d.value.concept,
		Words:          d.value.words,
		Absent:         d.value.absent,
		Interpretation: d.quality.interpretation,
	}
	if d.wave != nil {
		r.setInterval(o, x, d.wave, at)
	}
	for _, part := range d.value.parts {
		d.reading.Components = append(d.reading.Components, fhir.ConceptComponent(d.reading.Code, part))
	}
	site := r.work.bodySite(x, &d.reading)
	d.ranges = alarmLimits(x.Field(7), u)
	d.setting = x.code.isSetting()
	r.readMethod(x, d)
	if x.code.known {
		d.profile = x.code.metric.VitalSign
	}
	if !d.setting && d.profile == "" && x.code.isPhysiological() {
		d.reading.Category = "procedure"
	}
	d.reading.Same = same(x, at.Key(), site)
	if equipment == nil {
		// Nothing but the sender and the bed tells two unknown devices apart.
		d.reading.Same = append(d.reading.Same, r.sender.app, r.sender.facility, o.location)
	}

	if statusDoubt != "" {
		d.value.doubtful(11, statusDoubt, fixStatus)
	}
	d.warnings = warnings(x, append(d.value.doubts, x.doubts(d.quality)...))
	r.checkAge(at.Instant, x.FieldPath(14))

	if joined := r.joinPressure(o, x, d, u, site); joined != nil {
		return joined, nil
	}
	r.work.drafts = append(r.work.drafts, d)
	return d, nil
}

// judge applies what OBX-8 says to the value: a value that the device calls invalid or
// not available is not published as one.
func (d *draft) judge() {
	v, q := &d.value, d.quality
	if q.absent != "" {
		if !v.isEmpty() || d.wave != nil {
			d.wave = nil
			v.doubtful(8, "the device flags the value as invalid or not available; no value is published", "leave OBX-5 empty where there is no value")
		}
		v.clear(q.absent)
		return
	}
	if v.isEmpty() && v.absent == "" && d.wave == nil {
		v.absent = "unknown"
	}
	if q.comparator == 0 || v.quantity == nil {
		return
	}
	if v.quantity.Comparator != nil {
		if v.quantity.Comparator.Value != comparator(string(rune(q.comparator))).Value {
			v.doubtful(8, "the comparators of OBX-5 and OBX-8 differ; that of OBX-5 is used", "send the comparator once")
		}
		return
	}
	fhir.Compared(v.quantity, q.comparator)
}

// timeOf is when a row was measured: its own OBX-14, else that of the channel, VMD or
// MDS that it is under, else OBR-7. IHE PCD Technical Framework, volume 2, B.8.14
func (r *report) timeOf(o *order, x *row) (moment, *problem) {
	field, path := x.Field(14), x.FieldPath(14)
	if field.IsEmpty() {
		for p := x.place.owner(); ; p = p.above() {
			if n, ok := o.nodes[p]; ok && n.row != nil && !n.inherited && !n.row.Field(14).IsEmpty() {
				field, path = n.row.Field(14), n.row.FieldPath(14)
				break
			}
			if p == p.above() {
				break
			}
		}
	}
	if field.IsEmpty() {
		field, path = o.obr.Field(7), o.obr.FieldPath(7)
	}
	if field.IsEmpty() {
		return moment{}, &problem{fhir.SevError, fhir.CodeRequired, 14, "neither the row, nor the parts of the device above it, nor OBR-7 tell a time", fixTime}
	}
	m := r.instant(trim(field.Value()))
	if m.problem != nil {
		p := *m.problem
		p.field = 14
		if path != x.FieldPath(14) {
			p.message = "the time, which stands in " + path + ": " + p.message
		}
		return m, &p
	}
	return m, nil
}

// same tells a reading from all others of device, subject and code: by time, place in
// the device, and body site.
func same(x *row, key, site string) []string {
	if x.place.depth < 2 {
		return []string{key, trim(x.Field(4).Value()), site}
	}
	return []string{key, x.place.below(), site}
}

func (w *work) bodySite(x *row, to *fhir.Reading) string {
	f := x.Field(20)
	if f.IsEmpty() {
		return ""
	}
	if c := w.code(f); !c.isEmpty() {
		to.BodySite = w.concept(f, "")
	}
	return line(f.Raw())
}

// readMethod reads OBX-17, in which IHE PCD says how a value came about: measured,
// calculated or set, automatically or by hand.
func (r *report) readMethod(x *row, d *draft) {
	for _, m := range x.Field(17).All() {
		id, text := line(m.Component(1).Value()), line(m.Component(2).Value())
		if id == "" && text == "" {
			continue
		}
		name := ""
		switch id {
		case "AMEAS":
			name = "automatic measurement"
		case "MMEAS":
			name = "manual measurement"
		case "ACALC":
			name = "automatic calculation"
		case "MCALC":
			name = "manual calculation"
		case "ASET":
			name, d.setting = "automatic setting", true
		case "MSET":
			name, d.setting = "manual setting", true
		}
		if d.reading.Method != nil {
			continue
		}
		if name != "" {
			d.reading.Method = fhir.Concept(name, fhir.Coding(local("CodeSystem", "ihepcd-method"), id, ""))
			continue
		}
		c := readCoded(m)
		d.reading.Method = c.concept("")
	}
	if d.setting {
		d.reading.Category = ""
	}
}

// doubts are those about code and flags.
func (x *row) doubts(q quality) []doubt {
	var found []doubt
	if x.code.doubt != "" {
		found = append(found, doubt{3, x.code.doubt, x.code.fix})
	}
	if q.unknown {
		found = append(found, doubt{8, "a flag is not known; it is kept as text",
			"send the flags of IHE PCD-01: INV, QUES, NAV, CAL, TEST, DEMO, VAL, EARLY, BUSY, ALACT, ALINH, NI, OFF, <, >, N, A, L, LL, H, HH"})
	}
	return found
}

func warnings(x *row, doubts []doubt) []fhir.Issue {
	var out []fhir.Issue
	for _, d := range doubts {
		path := x.Path()
		if d.field > 0 {
			path = x.FieldPath(d.field)
		}
		out = append(out, fhir.Issue{Severity: fhir.Warning, Code: fhir.CodeBusinessRule, Path: path, Message: d.message, Fix: d.fix})
	}
	return out
}
