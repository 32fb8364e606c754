package search

import (
	"iter"
	"strings"
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// split cuts a text at each separator that no backslash stands before. Escapes stay.
// http://hl7.org/fhir/R4/search.html#escaping
func split(text string, separator byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i < len(text); i++ {
			switch {
			case text[i] == '\\' && i+1 < len(text) && strings.IndexByte(`,$|\`, text[i+1]) >= 0:
				i++
			case text[i] == separator:
				if !yield(text[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(text[start:])
	}
}

// escaped reports whether every backslash stands before , $ | or another one.
func escaped(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; i == len(text) || strings.IndexByte(`,$|\`, text[i]) < 0 {
			return false
		}
	}
	return true
}

func unescape(text string) string { return escapes.Replace(text) }

var escapes = strings.NewReplacer(`\,`, `,`, `\$`, `$`, `\|`, `|`, `\\`, `\`)

// lower is a code as a parameter without case compares it.
func lower(code string) string { return strings.ToLower(code) }

// parts are the pieces of a value between its bars, unescaped.
func parts(text string) []string {
	var all []string
	for part := range split(text, '|') {
		all = append(all, unescape(part))
	}
	return all
}

// value reads one alternative.
func (p *parser) value(of string, r *row, modifier, text string) (Value, *fhir.Error) {
	if len(text) > MaxValueLength {
		return Value{}, fhir.Errorf(fhir.CodeTooLong, r.Name, "a value of %s has more than %d bytes", r.Name, MaxValueLength)
	}
	if !escaped(text) {
		return Value{}, badValue(r.Name, "has a backslash before something else than , $ | or a backslash", `write a backslash as \\`, "#escaping")
	}
	var (
		v   Value
		err *fhir.Error
	)
	switch {
	case modifier == "missing":
		v, err = missingValue(r, text)
	case modifier == "identifier":
		v, err = tokenValue(r, text)
	case modifier == "of-type":
		v, err = typedValue(r, text)
	case modifier == "text":
		v, err = stringValue(r, modifier, text)
	case modifier == "in", modifier == "not-in":
		v, err = p.setValue(r, text)
	case r.Type == TokenParam && (modifier == "above" || modifier == "below"):
		v, err = nestedValue(r, modifier, text)
	default:
		v, err = p.plainValue(of, r, modifier, text)
	}
	if v.Text == "" {
		v.Text = text
	}
	return v, err
}

// plainValue reads one alternative as the type of the parameter wants it.
func (p *parser) plainValue(of string, r *row, modifier, text string) (Value, *fhir.Error) {
	switch r.Type {
	case TokenParam:
		return tokenValue(r, text)
	case ReferenceParam:
		return p.referenceValue(r, modifier, text)
	case DateParam:
		return p.dateValue(r, text)
	case NumberParam:
		return numberValue(r, text)
	case StringParam:
		return stringValue(r, modifier, text)
	case URIParam:
		return Value{String: unescape(text)}, nil
	case CompositeParam:
		return p.compositeValue(of, r, text)
	case SpecialParam:
		return nearValue(r, text)
	default:
		return quantityValue(r, text)
	}
}

// stringValue reads a text. http://hl7.org/fhir/R4/search.html#string
func stringValue(r *row, modifier, text string) (Value, *fhir.Error) {
	v := Value{String: unescape(text)}
	if modifier == "exact" {
		return v, nil
	}
	if v.String = Fold(v.String); v.String == "" { // it would be found everywhere
		return Value{}, badValue(r.Name, "has neither letters nor digits", "send more of the text, or use :exact", "#string")
	}
	return v, nil
}

// typedValue reads system|code|value, all of which must be there: an identifier with its type.
// http://hl7.org/fhir/R4/search.html#token
func typedValue(r *row, text string) (Value, *fhir.Error) {
	part := parts(text)
	if len(part) != 3 || part[0] == "" || part[1] == "" || part[2] == "" {
		return Value{}, badValue(r.Name, "with :of-type is not complete", "send system|code|value: system and code of the type, and the value of the identifier", "#token")
	}
	v := Value{System: part[0], Code: part[1] + "|" + part[2]}
	if !r.CaseSensitive {
		v.Code = lower(v.Code)
	}
	return v, nil
}

// setValue reads the URL of a value set. http://hl7.org/fhir/R4/search.html#token
func (p *parser) setValue(r *row, text string) (Value, *fhir.Error) {
	url := unescape(text)
	key := setKey{url, r.system, r.CaseSensitive}
	if known := p.sets[key]; known != nil {
		return Value{Set: known}, nil
	}
	set, ok := definitions.ValueSet(url)
	switch {
	case !absolute(url):
		return Value{}, badValue(r.Name, "is no absolute URL of a value set", "send the canonical URL of a value set that FHIR R4 defines", "#token")
	case !ok:
		return Value{}, badValue(r.Name, "names a value set that is not known here", "send the canonical URL of a value set that FHIR R4 defines, or the codes themselves", "#token")
	case !set.Enumerated():
		return Value{}, badValue(r.Name, "names a value set of which not all codes are known here", "send the codes themselves", "#token")
	}
	if p.sets == nil {
		p.sets = map[setKey]*CodeSet{}
	}
	p.sets[key] = memberSet(set, r.system, r.CaseSensitive)
	return Value{Set: p.sets[key]}, nil
}

// setKey is a value set as a parameter compares with it.
type setKey struct {
	url, implied  string
	caseSensitive bool
}

// compositeValue reads the values of the components, with dollars between them.
// http://hl7.org/fhir/R4/search.html#composite
func (p *parser) compositeValue(of string, r *row, text string) (Value, *fhir.Error) {
	v := Value{}
	for part := range split(text, '$') {
		n := len(v.Parts)
		if part == "" || n == len(r.Components) {
			v.Parts = nil
			break
		}
		component, ok := p.of.lookup(of, r.Components[n].Name)
		if !ok {
			component = &row{Param: r.Components[n]}
		}
		one, err := p.plainValue(of, component, "", part)
		if err != nil {
			return Value{}, badValue(r.Name, "has a part that its component does not take", "send a value for each of "+componentNames(r)+", with $ between them", "#composite")
		}
		if one.Text == "" {
			one.Text = part
		}
		v.Parts = append(v.Parts, one)
	}
	if len(v.Parts) != len(r.Components) {
		return Value{}, badValue(r.Name, "has not one part for each component", "send a value for each of "+componentNames(r)+", with $ between them", "#composite")
	}
	return v, nil
}

func componentNames(r *row) string {
	var names []string
	for _, c := range r.Components {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

func missingValue(r *row, text string) (Value, *fhir.Error) {
	if text != "true" && text != "false" {
		return Value{}, badValue(r.Name, "with :missing is neither true nor false", "send true or false", "#modifiers")
	}
	return Value{Missing: text == "true"}, nil
}

// tokenValue reads code, system|code, |code and system|.
// http://hl7.org/fhir/R4/search.html#token
func tokenValue(r *row, text string) (Value, *fhir.Error) {
	part := parts(text)
	if r.Type == TokenParam {
		switch {
		case r.Name == "_id":
			if len(part) != 1 || !fhir.ValidID(part[0]) {
				return Value{}, badValue(r.Name, "is no resource id", "send the id alone, without the type: 1 to 64 letters, digits, - and .", "#id")
			}
		case r.kinds == 1<<boolean:
			if text != "true" && text != "false" {
				return Value{}, badValue(r.Name, "is neither true nor false", "send true or false", "#token")
			}
		}
	}
	v := Value{}
	switch len(part) {
	case 1:
		v.Code, v.AnySystem = part[0], true
	case 2:
		v.System, v.Code, v.AnyCode = part[0], part[1], part[1] == ""
	}
	if len(part) > 2 || v.System == "" && v.AnyCode {
		return Value{}, badValue(r.Name, "is no token", `send code, system|code, |code or system|, with \| for a bar within one of them`, "#token")
	}
	if r.system != "" && v.System == r.system {
		v.System = ""
	}
	if r.Type == TokenParam && !r.CaseSensitive {
		v.Code = lower(v.Code)
	}
	return v, nil
}

// referenceValue reads id, Type/id, an absolute URL and a canonical one with its version, and
// with a type as the modifier id.
// http://hl7.org/fhir/R4/search.html#reference
func (p *parser) referenceValue(r *row, modifier, text string) (Value, *fhir.Error) {
	bad := func(why string) (Value, *fhir.Error) {
		return Value{}, badValue(r.Name, why, "send an id, Type/id or an absolute URL, of a canonical one also url|version", "#reference")
	}
	part := parts(text)
	plain := part[0]
	if len(part) == 2 && part[1] != "" && modifier == "" && absolute(plain) {
		return Value{URL: plain, Version: part[1]}, nil
	}
	if len(part) > 1 {
		return bad("has a bar, which stands before the version of a canonical URL only")
	}
	v := Value{RefType: modifier}
	if v.RefType == "" && len(r.Targets) == 1 {
		v.RefType = r.Targets[0]
	}
	if fhir.ValidID(plain) {
		v.RefID = plain
		return v, nil
	}
	if path, ours := p.below(plain); ours {
		plain = path
	}
	l := target(plain)
	switch {
	case l.version != "":
		return bad("names a version, which cannot be searched for")
	case l.id != "" && l.base == "":
		if modifier != "" && modifier != l.of {
			return bad("is of another type than its modifier says")
		}
		v.RefType, v.RefID = l.of, l.id
		return v, nil
	case absolute(plain):
		if modifier != "" {
			return bad("is of another server, where a type as the modifier says nothing")
		}
		return Value{URL: plain}, nil
	}
	return bad("is no reference")
}

// below is the path of a URL of this server. Whether http or https makes no difference.
func (p *parser) below(text string) (path string, ok bool) {
	base := withoutScheme(strings.TrimSuffix(p.opt.BaseURL, "/"))
	if base == "" || !absolute(text) {
		return "", false
	}
	return strings.CutPrefix(withoutScheme(text), base+"/")
}

func withoutScheme(text string) string {
	text = strings.TrimPrefix(text, "https:")
	return strings.TrimPrefix(text, "http:")
}

// prefixed takes the prefix off, which is eq where there is none.
// http://hl7.org/fhir/R4/search.html#prefix
func prefixed(text string) (Prefix, string) {
	if len(text) > 2 {
		switch p := Prefix(text[:2]); p {
		case EQ, NE, GT, LT, GE, LE, SA, EB, AP:
			return p, text[2:]
		}
	}
	return EQ, text
}

// dateValue reads a date with a prefix. http://hl7.org/fhir/R4/search.html#date
func (p *parser) dateValue(r *row, text string) (Value, *fhir.Error) {
	// A + that was not percent-encoded arrives as a blank: 10:30:00 02:00. It means nothing else there.
	if n := len(text) - len(" 02:00"); n > 0 && text[n] == ' ' {
		text = text[:n] + "+" + text[n+1:]
	}
	prefix, plain := prefixed(text)
	v := Value{Prefix: prefix, Text: text}
	var ok bool
	if v.From, v.To, ok = intervalIn(p.of.at(), []byte(plain)); !ok {
		return Value{}, badValue(r.Name, "is no date",
			"send YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm[:ss[.fff]] with Z or ±hh:mm (+ is %2B in a URL), and before it eq, ne, gt, lt, ge, le, sa, eb, ap or nothing", "#date")
	}
	if prefix == AP {
		v.From, v.To = p.around(v.From, v.To)
	}
	return v, nil
}

// around widens an interval to both sides by a tenth of its distance from now, which is
// nothing when now lies in it. http://hl7.org/fhir/R4/search.html#prefix
func (p *parser) around(from, to time.Time) (time.Time, time.Time) {
	// Not as a time.Duration, which ends at 292 years.
	gap := max(from.Unix()-p.opt.Now.Unix(), p.opt.Now.Unix()-to.Unix(), 0) / 10
	wider := func(t time.Time, seconds int64) time.Time {
		return time.Unix(t.Unix()+seconds, int64(t.Nanosecond())).UTC()
	}
	return wider(from, -gap), wider(to, gap)
}

// quantityValue reads n, n||code, n|system|code and n|system| with a prefix.
// http://hl7.org/fhir/R4/search.html#quantity
func quantityValue(r *row, text string) (Value, *fhir.Error) {
	part := parts(text)
	prefix, number := prefixed(part[0])
	n := decimal(number)
	if n == nil || len(part) > 3 {
		return Value{}, badValue(r.Name, "is no quantity",
			"send a number alone, number||unit or number|system|code, and before it eq, ne, gt, lt, ge, le, sa, eb, ap or nothing", "#quantity")
	}
	v := Value{Prefix: prefix, Number: n}
	part = append(part, "", "")
	v.System, v.Code = part[1], part[2]
	v.AnySystem, v.AnyCode = v.System == "", v.Code == ""
	v.imply()
	v.Unit = unitOf(&v)
	return v, nil
}

// numberValue reads a number with a prefix. http://hl7.org/fhir/R4/search.html#number
func numberValue(r *row, text string) (Value, *fhir.Error) {
	prefix, number := prefixed(text)
	n := decimal(number)
	if n == nil {
		return Value{}, badValue(r.Name, "is no number", "send a number, and before it eq, ne, gt, lt, ge, le, sa, eb, ap or nothing", "#number")
	}
	v := Value{Prefix: prefix, Number: n}
	v.imply()
	return v, nil
}

// imply sets the edges of what equals the number, or is approximately it.
func (v *Value) imply() {
	v.Low, v.High = implied(v.Number)
	if v.Prefix == AP {
		v.Low, v.High = tenth(v.Number, v.Low, v.High)
	}
}

// tenth is n ± 10 %, or the precision of n where that is wider: what equals n is
// approximately n.
func tenth(n, low, high *apd.Decimal) (*apd.Decimal, *apd.Decimal) {
	margin := multiply(new(apd.Decimal).Abs(n), apd.New(1, -1))
	if l := add(n, negative(margin)); l.Cmp(low) < 0 {
		low = l
	}
	if h := add(n, margin); h.Cmp(high) > 0 {
		high = h
	}
	return low, high
}
