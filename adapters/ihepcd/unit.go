package ihepcd

import (
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// unit is what OBX-6 means. code is UCUM, or "" where there is none that is certain;
// text is for people.
type unit struct{ code, text string }

// agrees tells that values in u and v can stand side by side. A unit that is not known
// yet agrees with all.
func (u unit) agrees(v unit) bool {
	if u == (unit{}) || v == (unit{}) || u.code != "" || v.code != "" {
		return u == (unit{}) || v == (unit{}) || u.code == v.code
	}
	return u.text == v.text
}

// Units that need a decision.
const (
	unspecified = 262144 // MDC_DIM_NOS: no unit
	tempDiff    = 188440 // MDC_TEMP_DIFF: a difference, which UCUM's Cel and [degF] are not
)

// readUnit reads the unit of a metric. The MDC number decides, then a UCUM code, then
// the MDC reference id; where they contradict each other there is only a text. A code
// of no stated system is UCUM only if it is the unit that the metric is known to have.
func readUnit(f hl7v2.Field, metric vocabulary.Metric) (u unit, doubt string) {
	if f.IsEmpty() {
		return unit{}, ""
	}
	r := f.Rep(1)
	var byNumber, byRefid, byUCUM vocabulary.Unit
	var hasNumber, hasRefid, hasUCUM bool
	text := ""
	for at := 1; at <= 4; at += 3 {
		id, name := line(r.Component(at).Value()), line(r.Component(at+1).Value())
		system := strings.ToUpper(line(r.Component(at + 2).Value()))
		if id == "" && name == "" {
			continue
		}
		mdc := system == "MDC" || system == "" && hasPrefix(name, "MDC_DIM_")
		switch {
		case mdc:
			if n, err := strconv.ParseUint(id, 10, 32); err == nil {
				if n == unspecified {
					continue
				}
				byNumber, hasNumber = vocabulary.UnitByMDC(uint32(n))
			}
			if byRefid, hasRefid = vocabulary.UnitByRefID(name); !hasRefid && hasPrefix(id, "MDC_DIM_") {
				byRefid, hasRefid = vocabulary.UnitByRefID(id)
			}
			if text == "" {
				text = first(name, "MDC "+id)
			}
		case system == "UCUM":
			byUCUM, hasUCUM = vocabulary.UnitByUCUM(id)
			if name != "" && name != id {
				text = name
			} else {
				text = id
			}
		default:
			if system == "" && id != "" && id == metric.UCUM {
				byUCUM, hasUCUM = vocabulary.UnitByUCUM(id)
			}
			if text == "" || hasPrefix(text, "MDC_DIM_") {
				text = first(name, id)
			}
		}
	}
	found := byNumber
	switch {
	case hasNumber:
	case hasUCUM:
		found = byUCUM
	case hasRefid:
		found = byRefid
	case text == "":
		return unit{}, ""
	default:
		return unit{text: text}, "the unit is not known to be UCUM and is kept as text"
	}
	if hasNumber && hasRefid && byNumber.UCUM != byRefid.UCUM || hasUCUM && found.UCUM != byUCUM.UCUM || hasUCUM && hasRefid && byRefid.UCUM != byUCUM.UCUM {
		return unit{text: line(r.Text())}, "the parts of the unit contradict each other; it is kept as text"
	}
	if text == "" || hasPrefix(text, "MDC_DIM_") {
		text = first(found.Display, found.UCUM)
	}
	if metric.MDC == tempDiff && (found.UCUM == "Cel" || found.UCUM == "[degF]") {
		return unit{text: "{delta}" + found.UCUM}, ""
	}
	if found.UCUM == "" {
		return unit{text: text}, "the unit has no UCUM code and is kept as text"
	}
	return unit{code: found.UCUM, text: text}, ""
}
