package ihepcd

import (
	"strings"

	codes "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	dtpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/datatypes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/vocabulary"
)

// value is what OBX-5 means. At most one of quantity, concept, words, rng, ratio,
// clock, moment, samples and parts is set; without any of them absent says why, if
// anything does.
type value struct {
	quantity *dtpb.Quantity
	concept  *dtpb.CodeableConcept
	words    string
	rng      *dtpb.Range
	ratio    *dtpb.Ratio
	clock    *dtpb.Time
	moment   *dtpb.DateTime
	samples  *dtpb.SampledData
	parts    []*dtpb.CodeableConcept // several codes, each of which holds
	absent   string
	doubts   []doubt
}

// doubt is a warning to be: a field of the row, what is doubtful, and how to mend it.
type doubt struct {
	field        int
	message, fix string
}

// problem is why a row cannot be mapped.
type problem struct {
	severity     fhir.Severity
	code         string
	field        int
	message, fix string
}

func (v *value) doubtful(field int, message, fix string) {
	v.doubts = append(v.doubts, doubt{field, message, fix})
}

func (v *value) isEmpty() bool {
	return v.quantity == nil && v.concept == nil && v.words == "" && v.rng == nil && v.ratio == nil &&
		v.clock == nil && v.moment == nil && v.samples == nil && v.parts == nil
}

// clear takes the value away and says why there is none.
func (v *value) clear(absent string) { *v = value{absent: absent, doubts: v.doubts} }

const (
	fixType = "send in OBX-2 the type of the value in OBX-5: NM, ST, CWE, SN, DTM, TM or NA"
	fixUnit = "send the MDC unit (266016^MDC_DIM_MMHG^MDC) or the UCUM code (mm[Hg]^mm[Hg]^UCUM)"
)

// read reads OBX-5 by its type in OBX-2, as the v2-to-FHIR guide does; waveforms (NA)
// are read elsewhere. https://build.fhir.org/ig/HL7/v2-to-fhir/ConceptMap-segment-obx-to-observation.html
func (r *report) readValue(s hl7v2.Segment, metric vocabulary.Metric) (v value, u unit, p *problem) {
	kind := strings.ToUpper(trim(s.Field(2).Value()))
	f := s.Field(5)
	if f.IsEmpty() {
		return v, u, nil
	}
	u, unitDoubt := readUnit(s.Field(6), metric)
	if kind == "" {
		kind = "ST"
		if _, ok := decimal(f.Text()); ok {
			kind = "NM"
		}
		v.doubtful(2, "there is no value type; the value is read as "+kind, fixType)
	}
	if unitDoubt != "" {
		v.doubtful(6, unitDoubt, fixUnit)
	}
	switch kind {
	case "NM":
		p = v.readNumber(f, u)
	case "SN":
		p = v.readStructured(f, u)
	case "NR":
		p = v.readRange(f, u)
	case "ST", "TX", "FT":
		p = v.readText(f, u)
	case "CE", "CF", "CNE", "CWE", "IS", "ID":
		v.readConcepts(f)
	case "DTM", "TS", "DT":
		p = r.readMoment(&v, f)
	case "TM":
		p = v.readClock(f)
	case "ED", "RP":
		p = &problem{fhir.Information, fhir.CodeNotSupported, 5, "a document is not a reading", ""}
	default:
		p = &problem{fhir.SevError, fhir.CodeNotSupported, 2, "values of this type are not converted", fixType}
	}
	return v, u, p
}

func (v *value) readNumber(f hl7v2.Field, u unit) *problem {
	text := trim(f.Text())
	if n, ok := decimal(text); ok {
		if isSentinel(n) {
			v.absent = "error"
			v.doubtful(5, "the number is one that devices send for no value; no value is published", "leave OBX-5 empty and send in OBX-8 why there is no value")
			return nil
		}
		v.quantity = fhir.Quantity(n, u.text, u.code)
		return nil
	}
	if comparator, n, ok := compared(text); ok {
		v.quantity = fhir.Quantity(n, u.text, u.code)
		v.quantity.Comparator = comparator
		return nil
	}
	if reason, ok := absentMark(text); ok {
		v.absent = reason
		return nil
	}
	return &problem{fhir.SevError, fhir.CodeValue, 5, "the value is not a number", fixType}
}

// isSentinel recognises numbers that stand for no value in the protocols behind the
// gateways: the ends of 16-bit integers, and NaN of IEEE 11073's FLOAT.
func isSentinel(n string) bool {
	switch n {
	case "32767", "-32767", "-32768", "8388607":
		return true
	}
	return false
}

// absentMark reads what senders write instead of a number.
func absentMark(text string) (reason string, ok bool) {
	switch strings.ToUpper(text) {
	case "NAN":
		return "not-a-number", true
	case "INF", "+INF", "INFINITY", "+INFINITY":
		return "positive-infinity", true
	case "-INF", "-INFINITY":
		return "negative-infinity", true
	case "OFF":
		return "not-performed", true
	case "ERR", "ERROR":
		return "error", true
	case "N/A", "NA", "NULL":
		return "unknown", true
	}
	return "unknown", strings.Trim(text, "-.*?_#+ /:") == ""
}

// decimal is text as a FHIR decimal, digit by digit as it was written but for these:
// a plus sign and leading zeros go, a zero is put before a leading point, and a point
// without decimals goes. 37.60 stays 37.60. HL7's type NM has no exponents; those of
// one or two digits are taken nevertheless.
// http://hl7.org/fhir/R4/datatypes.html#decimal
func decimal(text string) (string, bool) {
	const maxDigits = 100
	text = trim(text)
	if len(text) > maxDigits {
		return "", false
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 && len(strings.TrimLeft(text[i+1:], "+-0")) > 2 {
		return "", false
	}
	if fhir.IsDecimal(text) {
		return text, true
	}
	sign, rest := "", text
	switch {
	case hasPrefix(rest, "-"):
		sign, rest = "-", rest[1:]
	case hasPrefix(rest, "+"):
		rest = rest[1:]
	}
	for len(rest) > 1 && rest[0] == '0' && rest[1] >= '0' && rest[1] <= '9' {
		rest = rest[1:]
	}
	if hasPrefix(rest, ".") && len(rest) > 1 {
		rest = "0" + rest
	}
	if n := len(rest); n > 1 && rest[n-1] == '.' {
		rest = rest[:n-1]
	}
	if hasPrefix(rest, "-") || !fhir.IsDecimal(rest) {
		return "", false
	}
	return sign + rest, true
}

// compared reads a number with a comparator before it.
func compared(text string) (*dtpb.Quantity_ComparatorCode, string, bool) {
	for _, mark := range []string{"<=", ">=", "<", ">"} {
		rest, ok := strings.CutPrefix(text, mark)
		if !ok {
			continue
		}
		n, ok := decimal(rest)
		return comparator(mark), n, ok
	}
	return nil, "", false
}

func comparator(mark string) *dtpb.Quantity_ComparatorCode {
	switch mark {
	case "<":
		return &dtpb.Quantity_ComparatorCode{Value: codes.QuantityComparatorCode_LESS_THAN}
	case "<=":
		return &dtpb.Quantity_ComparatorCode{Value: codes.QuantityComparatorCode_LESS_THAN_OR_EQUAL_TO}
	case ">":
		return &dtpb.Quantity_ComparatorCode{Value: codes.QuantityComparatorCode_GREATER_THAN}
	case ">=":
		return &dtpb.Quantity_ComparatorCode{Value: codes.QuantityComparatorCode_GREATER_THAN_OR_EQUAL_TO}
	}
	return nil
}

// readStructured reads a structured numeric: comparator^number^separator^number, of
// which 1:2 and 1/2 are ratios and 1-2 is a range. What has no counterpart in FHIR is
// kept as text. HL7 2.9, 2.A.70
func (v *value) readStructured(f hl7v2.Field, u unit) *problem {
	mark := trim(f.Component(1).Value())
	separator := trim(f.Component(3).Value())
	bad := &problem{fhir.SevError, fhir.CodeValue, 5, "the value is not a structured numeric: comparator^number^separator^number", "send a structured numeric, or another type in OBX-2"}
	one, ok := decimal(f.Component(2).Value())
	if !ok {
		if f.Component(2).IsEmpty() && separator == "" {
			// A mark for no value, which stands where the comparator belongs.
			if reason, is := absentMark(mark); is && mark != "" {
				v.absent = reason
				return nil
			}
		}
		return bad
	}
	two, hasTwo := decimal(f.Component(4).Value())
	compares := mark == "" || mark == "=" || comparator(mark) != nil
	switch {
	case separator == "" && f.Component(4).IsEmpty() && compares:
		v.quantity = fhir.Quantity(one, u.text, u.code)
		v.quantity.Comparator = comparator(mark)
	case (separator == ":" || separator == "/") && hasTwo && compares:
		v.ratio = &dtpb.Ratio{Numerator: fhir.Quantity(one, u.text, u.code), Denominator: fhir.Quantity(two, u.text, u.code)}
		v.ratio.Numerator.Comparator = comparator(mark)
	case separator == "-" && hasTwo && (mark == "" || mark == "="):
		v.rng = &dtpb.Range{Low: simple(one, u), High: simple(two, u)}
	case mark == "<>" || separator == "+" || separator == "-" && hasTwo:
		v.words = line(strings.Join([]string{mark, one, separator, two, u.text}, " "))
	default:
		return bad
	}
	return nil
}

// readRange reads a numeric range: low^high, one of which may be missing.
func (v *value) readRange(f hl7v2.Field, u unit) *problem {
	v.rng = &dtpb.Range{}
	for i, to := range []**dtpb.SimpleQuantity{&v.rng.Low, &v.rng.High} {
		c := f.Component(i + 1)
		if c.IsEmpty() {
			continue
		}
		n, ok := decimal(c.Value())
		if !ok {
			v.rng = nil
			return &problem{fhir.SevError, fhir.CodeValue, 5, "the value is not a range of numbers", fixType}
		}
		*to = simple(n, u)
	}
	if v.rng.Low == nil && v.rng.High == nil {
		v.rng, v.absent = nil, "unknown"
	}
	return nil
}

func simple(number string, u unit) *dtpb.SimpleQuantity {
	q := fhir.Quantity(number, u.text, u.code)
	return &dtpb.SimpleQuantity{Value: q.Value, Unit: q.Unit, System: q.System, Code: q.Code}
}

// maxWords is the length of a FHIR string.
const maxWords = 1 << 20

// readText keeps a text as a text, also when it is a number: its type says that nobody
// is to calculate with it. A reference id is the code of an enumeration.
func (v *value) readText(f hl7v2.Field, u unit) *problem {
	text := prose(f.Text())
	switch {
	case len(text) > maxWords:
		return &problem{fhir.SevError, fhir.CodeTooLong, 5, "the text is longer than 1 MiB", ""}
	case text == "":
		return nil
	case isRefid(text) && isCodeLike(text):
		c := coded{refid: text}
		c.look()
		v.concept = c.concept("")
	case u.text != "":
		v.words = text + " " + u.text
		v.doubtful(2, "a text has a unit; both are kept as text, and there is no quantity", "send numbers as NM")
	default:
		v.words = text
	}
	return nil
}

// readConcepts reads one code or several.
func (v *value) readConcepts(f hl7v2.Field) {
	for _, r := range f.All() {
		c := readCoded(r)
		if c.isEmpty() {
			continue
		}
		v.parts = append(v.parts, c.concept(""))
		if c.doubt != "" && (c.number != 0 || len(c.loinc) > 0) {
			v.doubtful(5, c.doubt, c.fix)
		}
	}
	if len(v.parts) == 1 {
		v.concept, v.parts = v.parts[0], nil
	}
}

func (r *report) readMoment(v *value, f hl7v2.Field) *problem {
	if reason, ok := absentMark(trim(f.Text())); ok {
		v.absent = reason
		return nil
	}
	t := r.instant(trim(f.Value()))
	if t.problem != nil {
		p := *t.problem
		p.field = 5
		return &p
	}
	v.moment = t.DateTime()
	return nil
}

func (v *value) readClock(f hl7v2.Field) *problem {
	since, precision, err := hl7v2.ParseClock(trim(f.Value()))
	if err != nil {
		return &problem{fhir.SevError, fhir.CodeValue, 5, "the value is not a time of day without an offset", "send HHMMSS, or the type DTM for a date and time"}
	}
	v.clock = &dtpb.Time{ValueUs: since.Microseconds(), Precision: dtpb.Time_SECOND}
	switch precision {
	case hl7v2.Millisecond:
		v.clock.Precision = dtpb.Time_MILLISECOND
	case hl7v2.Microsecond:
		v.clock.Precision = dtpb.Time_MICROSECOND
	}
	return nil
}

// put sets the value of an Observation for which fhir.Reading has no field.
func (v *value) put(o *obpb.Observation) {
	switch {
	case v.rng != nil:
		o.Value = &obpb.Observation_ValueX{Choice: &obpb.Observation_ValueX_Range{Range: v.rng}}
	case v.ratio != nil:
		o.Value = &obpb.Observation_ValueX{Choice: &obpb.Observation_ValueX_Ratio{Ratio: v.ratio}}
	case v.clock != nil:
		o.Value = &obpb.Observation_ValueX{Choice: &obpb.Observation_ValueX_Time{Time: v.clock}}
	case v.moment != nil:
		o.Value = &obpb.Observation_ValueX{Choice: &obpb.Observation_ValueX_DateTime{DateTime: v.moment}}
	}
}

// component is the value as a part of an Observation.
func (v *value) component(code *dtpb.CodeableConcept) *obpb.Observation_Component {
	c := fhir.Component(code, v.quantity, "")
	switch {
	case v.quantity != nil:
	case v.concept != nil:
		return fhir.ConceptComponent(code, v.concept)
	case v.words != "":
		c.Value = &obpb.Observation_Component_ValueX{Choice: &obpb.Observation_Component_ValueX_StringValue{StringValue: fhir.Text(v.words)}}
	case v.rng != nil:
		c.Value = &obpb.Observation_Component_ValueX{Choice: &obpb.Observation_Component_ValueX_Range{Range: v.rng}}
	case v.ratio != nil:
		c.Value = &obpb.Observation_Component_ValueX{Choice: &obpb.Observation_Component_ValueX_Ratio{Ratio: v.ratio}}
	case v.clock != nil:
		c.Value = &obpb.Observation_Component_ValueX{Choice: &obpb.Observation_Component_ValueX_Time{Time: v.clock}}
	case v.moment != nil:
		c.Value = &obpb.Observation_Component_ValueX{Choice: &obpb.Observation_Component_ValueX_DateTime{DateTime: v.moment}}
	default:
		c = fhir.Component(code, nil, first(v.absent, "unknown"))
	}
	return c
}

// alarmRangeSystem is the code system in which the Point-of-Care Device guide says
// what kind of range one is.
const alarmRangeSystem = "http://hl7.org/fhir/uv/pocd/CodeSystem/reference-range-type"

// alarmLimits is OBX-7: for a device these are the limits of its alarms, not those of
// a healthy person, and the type says so. Forms that are read: 90-160, 90^160, <500,
// >8, [4.00;15.00]. Others are kept as text.
func alarmLimits(f hl7v2.Field, u unit) []*obpb.Observation_ReferenceRange {
	text := line(f.Text())
	if text == "" {
		return nil
	}
	limits := &obpb.Observation_ReferenceRange{
		Type: fhir.Concept("", fhir.Coding(alarmRangeSystem, "alarm-limits", "Alarm limits")),
		Text: fhir.Text(text),
	}
	low, high := bounds(text)
	if low != "" {
		limits.Low = simple(low, u)
	}
	if high != "" {
		limits.High = simple(high, u)
	}
	return []*obpb.Observation_ReferenceRange{limits}
}

func bounds(text string) (low, high string) {
	if rest, ok := strings.CutPrefix(text, "<"); ok {
		high, _ = decimal(rest)
		return "", high
	}
	if rest, ok := strings.CutPrefix(text, ">"); ok {
		low, _ = decimal(rest)
		return low, ""
	}
	separators := "^-"
	if hasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		text, separators = text[1:len(text)-1], ";"
	}
	// The first character may be the sign of the lower limit.
	for i := 1; i < len(text); i++ {
		if strings.IndexByte(separators, text[i]) < 0 {
			continue
		}
		l, okLow := decimal(text[:i])
		h, okHigh := decimal(text[i+1:])
		if okLow && okHigh {
			return l, h
		}
	}
	return "", ""
}
