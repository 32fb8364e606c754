package validate

import (
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// measurement holds the rules for an Observation. It knows the places of the members that
// they look at.
type measurement struct {
	meta, status, code, effective, value, component, device uint8
	profile                                                 int // of Meta
	start, end                                              int // of Period
	part                                                    struct{ code, value int }
	coding                                                  struct{ system, code int }
	quantity                                                struct{ value, comparator, system, code int }
	origin                                                  int // of SampledData
	types                                                   struct{ quantity, sampled, period *class }
}

func (p *plan) measurements(c *class) check {
	of := func(name string) uint8 { return uint8(c.ordinal(name)) }
	m := &measurement{meta: of("meta"), status: of("status"), code: of("code"), effective: of("effective"), value: of("value"), component: of("component"), device: of("device")}
	m.profile = p.ofType("Meta").ordinal("profile")
	period := p.ofType("Period")
	m.start, m.end = period.ordinal("start"), period.ordinal("end")
	part := p.slots[c.members[m.component].first].class
	m.part.code, m.part.value = part.ordinal("code"), part.ordinal("value")
	coding := p.ofType("Coding")
	m.coding.system, m.coding.code = coding.ordinal("system"), coding.ordinal("code")
	q := p.ofType("Quantity")
	m.quantity.value, m.quantity.comparator, m.quantity.system, m.quantity.code = q.ordinal("value"), q.ordinal("comparator"), q.ordinal("system"), q.ordinal("code")
	sampled := p.ofType("SampledData")
	m.origin = sampled.ordinal("origin")
	m.types.quantity, m.types.sampled, m.types.period = q, sampled, period
	return m.check
}

// observed is where the parts of an Observation are: their nodes, -1 for one that is not there.
type observed struct {
	node, meta, code, effective, value, component, device int
	status                                                string
}

func (m *measurement) check(w *walker, n int, _ uint64) bool {
	if w.opt.DeviceRules == Ignored {
		return true
	}
	o := observed{n, -1, -1, -1, -1, -1, -1, ""}
	for k := n + 1; k < int(w.nodes[n].next); k = int(w.nodes[k].next) {
		flags := w.nodes[k].slot
		if flags&(companion|unfit|null) != 0 {
			continue
		}
		switch w.plan.slots[flags&slotBits].member {
		case m.meta:
			o.meta = k
		case m.status:
			o.status = m.known(w.text(k))
		case m.code:
			o.code = k
		case m.effective:
			o.effective = k
		case m.value:
			o.value = k
		case m.component:
			if o.component < 0 {
				o.component = k
			}
		case m.device:
			o.device = k
		}
	}
	var few [4]*gauge
	of := m.gauges(w, o.code, few[:0])
	m.claims(w, &o, of)
	m.timed(w, &o)
	if o.value >= 0 {
		m.measured(w, &o, o.value, 0, of)
	}
	if o.component >= 0 {
		m.components(w, &o)
	}
	return true
}

// known is a status that the rules tell apart, without a text of its own.
func (m *measurement) known(status []byte) string {
	for _, s := range [...]string{"final", "amended", "corrected", "entered-in-error", "cancelled"} {
		if s == string(status) {
			return s
		}
	}
	return ""
}

// gauges are those of the codings of the concept at node n, as far as there is room.
func (m *measurement) gauges(w *walker, n int, into []*gauge) []*gauge {
	t := gauges()
	w.codings(n, func(k int) bool {
		var g *gauge
		switch string(w.text(w.child(k, m.coding.system))) {
		case fhir.LOINC:
			g = t.loinc[string(w.textIn(1, w.child(k, m.coding.code)))]
		case fhir.MDC:
			if mdc, ok := parseMDC(w.textIn(1, w.child(k, m.coding.code))); ok {
				g = t.mdc[mdc]
			}
		}
		if g != nil {
			into = append(into, g)
		}
		return len(into) < cap(into)
	})
	return into
}

// claims is kiln-vital-sign.
func (m *measurement) claims(w *walker, o *observed, of []*gauge) {
	if o.status == "entered-in-error" || o.value >= 0 && w.classAt(o.value) == m.types.sampled {
		return
	}
	for _, g := range of {
		if g.profile == "" || m.claimed(w, o.meta, g.profile) || m.asked(w, o.node, g.profile) {
			continue
		}
		if w.finds(ruleVitalSign) {
			at := o.node
			if o.meta >= 0 {
				at = o.meta
			}
			w.finding(ruleVitalSign, fhir.CodeBusinessRule, "meta.profile", int(w.nodes[at].start),
				"the code is one of a vital sign, and no profile of vital signs is claimed", "conform to "+g.profile.URL()+" and add it to meta.profile")
		}
		return
	}
}

// claimed reports whether a vital-signs profile is claimed in the Meta at node n.
func (m *measurement) claimed(w *walker, n int, want vocabulary.Profile) bool {
	if n < 0 {
		return false
	}
	c := w.classAt(n)
	if c == nil {
		return false
	}
	profiles := &c.members[m.profile]
	for k := w.first(n, profiles, 0); k >= 0; k = w.sibling(n, k, profiles, 0) {
		u := w.text(k)
		for i, b := range u {
			if b == '|' {
				u = u[:i]
				break
			}
		}
		f := w.plan.profiles[string(u)]
		if f == nil {
			continue
		}
		if p := f(); p != nil && isVitalSign(p.url, want) {
			return true
		}
	}
	return false
}

// asked reports whether the Observation is the body, and is held to a vital-signs profile anyway.
func (m *measurement) asked(w *walker, n int, want vocabulary.Profile) bool {
	for _, u := range w.opt.Profiles {
		u, _, _ = strings.Cut(u, "|")
		if n == 0 && isVitalSign(u, want) {
			return true
		}
	}
	return false
}

const vitalSigns = "http://hl7.org/fhir/StructureDefinition/vitalsigns"

// isVitalSign reports whether a structure is the profile, or any that derives from vitalsigns.
func isVitalSign(url string, want vocabulary.Profile) bool {
	const core = len("http://hl7.org/fhir/StructureDefinition/")
	if len(url) > core && url[core:] == string(want) {
		return true
	}
	for range fhir.MaxDepth {
		if url == vitalSigns {
			return true
		}
		s, ok := definitions.Lookup(url)
		if !ok {
			return false
		}
		url = s.Base
	}
	return false
}

// timed is kiln-time.
func (m *measurement) timed(w *walker, o *observed) {
	if o.effective < 0 {
		if o.device >= 0 && (o.value >= 0 || o.component >= 0) && o.status != "entered-in-error" && o.status != "cancelled" && w.finds(ruleTime) {
			w.finding(ruleTime, fhir.CodeBusinessRule, "effective", int(w.nodes[o.node].start), "a device measured it, and nothing says when", "add effectiveDateTime, with the time of day and its offset")
		}
		return
	}
	w.enterNode(o.effective, 0)
	defer w.leaveNode()
	if w.classAt(o.effective) != m.types.period {
		m.moment(w, o, o.effective, "")
		return
	}
	end := w.child(o.effective, m.end)
	m.moment(w, o, w.child(o.effective, m.start), "start")
	m.moment(w, o, end, "end")
	done := o.status == "final" || o.status == "amended" || o.status == "corrected"
	if end < 0 && done && w.first(o.effective, &m.types.period.members[m.end], companion) < 0 && w.finds(ruleTime) {
		w.finding(ruleTime, fhir.CodeBusinessRule, "end", int(w.nodes[o.effective].start),
			"the measurement is final, and its period goes on, as it has no end", "add the end")
	}
}

// moment checks the text at node k, -1 if there is none, which is a dateTime, an instant or
// no time at all.
func (m *measurement) moment(w *walker, o *observed, k int, element string) {
	t := w.text(k)
	switch {
	case len(t) == 0:
	case len(t) <= len("2026-05-11"):
		if o.device >= 0 && w.finds(ruleTime) {
			w.finding(ruleTime, fhir.CodeBusinessRule, element, int(w.nodes[k].start), "a device measured it, and the time of day is missing", "add the time of day with its offset")
		}
	case string(t[len(t)-len("-00:00"):]) == "-00:00":
		if w.finds(ruleTime) {
			w.finding(ruleTime, fhir.CodeBusinessRule, element, int(w.nodes[k].start), "the offset -00:00 says that the offset is not known", "send the offset of the place, or Z if the time is UTC")
		}
	}
}

// measured is kiln-unit and kiln-plausible of the value at node k, which is the index-th of
// its element. It returns the value, if that was compared with limits.
func (m *measurement) measured(w *walker, o *observed, k, index int, of []*gauge) {
	if len(of) == 0 {
		return
	}
	q, plausible := k, o.status != "entered-in-error"
	c := w.classAt(k)
	switch c {
	case m.types.quantity:
	case m.types.sampled:
		if q, plausible = w.child(k, m.origin), false; q < 0 || w.nodes[q].slot&unfit != 0 {
			return
		}
	default:
		return
	}
	at := w.child(q, m.quantity.code)
	unit := m.unit(w, q, at)
	if len(unit) == 0 {
		return
	}
	base := gauges().base(unit)
	if base == "" {
		return // kiln-ucum says so
	}
	w.enterNode(k, index)
	defer w.leaveNode()
	for _, g := range of {
		if len(g.bases) > 0 && !g.takes(base) {
			if w.finds(ruleUnit) {
				element := "code"
				if q != k {
					element = "origin.code"
				}
				w.finding(ruleUnit, fhir.CodeValue, element, int(w.nodes[at].start), "the unit is not one of what the code measures", "send the value in "+g.unit+", or the code of what it measures in this unit")
			}
			return
		}
	}
	if !plausible || w.child(q, m.quantity.comparator) >= 0 {
		return
	}
	number := w.numberAt(w.child(q, m.quantity.value))
	if number == nil {
		return
	}
	for _, g := range of {
		for _, l := range g.limits {
			if l.base != base {
				continue
			}
			if b, ok := l.bounds(unit); ok && !b.hold(number) {
				if w.finds(rulePlausible) {
					w.finding(rulePlausible, fhir.CodeValue, "value", int(w.nodes[w.child(q, m.quantity.value)].start),
						l.Name+" is outside what a living human can have: "+l.Low+" to "+l.High+" "+l.UCUM, "check the sensor and the unit; send a dataAbsentReason for an artefact")
				}
				return
			}
		}
	}
}

// hold reports whether a number is within the bounds. The limits are rough, so they can be
// compared in floating point; a number beyond its range is infinite, or zero.
func (b bounds) hold(number []byte) bool {
	v, _ := strconv.ParseFloat(string(number), 64)
	return b.low <= v && v <= b.high
}

// unit is that of the Quantity at node q, whose code is at node at, as a UCUM code. It is nil
// if the Quantity has none that can be told.
func (m *measurement) unit(w *walker, q, at int) []byte {
	code := w.textIn(1, at)
	switch string(w.text(w.child(q, m.quantity.system))) {
	case fhir.UCUM:
		return code
	case fhir.MDC:
		if n, ok := parseMDC(code); ok {
			u, _ := vocabulary.UnitByMDC(n)
			w.unquoted[1] = append(w.unquoted[1][:0], u.UCUM...)
			return w.unquoted[1]
		}
	}
	return nil
}

// components checks each component by its own code, and the pressures of the blood with
// each other.
func (m *measurement) components(w *walker, o *observed) {
	components := &w.classAt(o.node).members[m.component]
	var pressures [2]int // the values: systolic, diastolic
	index := 0
	for k := w.first(o.node, components, 0); k >= 0; k = w.sibling(o.node, k, components, 0) {
		if w.nodes[k].slot&unfit == 0 {
			var few [4]*gauge
			of := m.gauges(w, w.child(k, m.part.code), few[:0])
			if value := w.child(k, m.part.value); value >= 0 && len(of) > 0 && w.nodes[value].slot&unfit == 0 {
				w.enterNode(k, index)
				m.measured(w, o, value, 0, of)
				w.leaveNode()
				for _, g := range of {
					if g.pressure != noPressure && w.classAt(value) == m.types.quantity {
						pressures[g.pressure-systolic] = value
					}
				}
			}
		}
		index++
	}
	if pressures[0] == 0 || pressures[1] == 0 || o.status == "entered-in-error" {
		return
	}
	low, high := w.numberAt(w.child(pressures[1], m.quantity.value)), w.numberAt(w.child(pressures[0], m.quantity.value))
	same := string(w.text(w.child(pressures[0], m.quantity.code))) == string(w.textIn(1, w.child(pressures[1], m.quantity.code)))
	if low != nil && high != nil && same && compare(low, high) > 0 && w.finds(rulePlausible) {
		w.finding(rulePlausible, fhir.CodeValue, "component", int(w.nodes[pressures[1]].start), "the diastolic pressure is above the systolic one", "check which is which")
	}
}

// enterNode makes the value at node k, the index-th of its element, the one at hand.
func (w *walker) enterNode(k, index int) {
	w.steps[w.depth] = step{int32(w.nodes[k].slot & slotBits), int32(index)}
	w.depth++
}

func (w *walker) leaveNode() { w.depth-- }
