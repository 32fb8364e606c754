package mongotest

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// world is random resources of some types, and queries about what they have.
type world struct {
	*rand.Rand
	resources []resource
}

type resource struct {
	key     fhir.Key
	updated time.Time
	json    []byte
	terms   search.Terms
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// words are what {name} in a template becomes one of; the words may have templates, too.
var words = map[string][]string{
	"id":      {"a", "b", "c", "a.b", "A", "abc"},
	"system":  {"http://loinc.org", "urn:iso:std:iso:11073:10101", "http://x.example/s", "http://x.example/s/t", "urn:oid:1.2.3"},
	"code":    {"8867-4", "147842", "a", "A", "b|c", "a=b", "%7C", "ä", "a$b", "#", "*"},
	"coding":  {`{"system":"{system}","code":"{code}"}`, `{"code":"{code}"}`, `{"system":"{system}"}`, `{"system":"{system}","code":"{code}","display":"{text}"}`},
	"concept": {`{"coding":[{coding},{coding}],"text":"{text}"}`, `{"coding":[{coding}]}`, `{"text":"{text}"}`},
	"text":    {"Müller", "mueller", "Anna-Maria", "van der Berg", "x", "", "%", ".*", "a(b", "Å", "日本", "long " + strings.Repeat("x", 300)},
	"date": {"2024", "2024-02", "2024-02-29", "2024-02-29T23:59:59Z", "2024-02-29T23:59:59.999+05:30", "2024-03-01T00:00:00Z", "2024-03-01T00:00:00.123456789Z", "2025-01-01T00:00:00-08:00",
		"1970-01-01T00:00:00Z", "0002-01-01", "9999-12-31T23:59:59Z"},
	"day": {"2024", "2024-02", "2024-02-29", "1937-06-30"},
	"period": {`{"start":"{date}"}`, `{"end":"{date}"}`, `{"start":"2024-02-01","end":"2024-02-29"}`, `{"start":"2024-02-29T10:00:00Z","end":"2024-02-29T10:00:01Z"}`,
		`{"start":"2020-01-01","end":"2025-06-01"}`, `{}`},
	"number": {"72", "72.0", "72.50", "-1", "0", "1e3", "0.1", "36.6", "98.6", "123456789.123456789", "1000", "0.30000000000000004"},
	"unit": {`"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"`, `"unit":"kPa","system":"http://unitsofmeasure.org","code":"kPa"`, `"system":"http://unitsofmeasure.org","code":"Cel"`,
		`"system":"http://unitsofmeasure.org","code":"[degF]"`, `"system":"http://unitsofmeasure.org","code":"/min"`, `"system":"http://x.example/s","code":"a"`, `"unit":"beats"`, `"code":"kg","system":"http://unitsofmeasure.org"`},
	"quantity":   {`{"value":{number},{unit}}`, `{"value":{number}}`, `{"value":{number},"comparator":"<",{unit}}`, `{"value":{number},"comparator":">=",{unit}}`},
	"identifier": {`{"system":"{system}","value":"{code}"}`, `{"value":"{code}"}`, `{"type":{concept},"system":"{system}","value":"{code}"}`},
	"patient":    {`{"reference":"Patient/{id}"}`, `{"reference":"Patient/{id}"}`, `{"reference":"Patient/{id}/_history/2"}`, `{"reference":"http://x.example/fhir/Patient/{id}"}`, `{"identifier":{identifier}}`, `{"reference":"Group/{id}"}`, `{"display":"x"}`},
	"component":  {`{"code":{concept},"valueQuantity":{quantity}}`, `{"code":{concept},"valueCodeableConcept":{concept}}`, `{"code":{concept},"dataAbsentReason":{concept}}`},
	"status":     {"final", "amended", "preliminary"},
	"many":       {strings.Repeat(`{"value":"0"},`, 30) + `{"value":"a"}`},
}

// parts are the elements that a resource of a type may have, each with what it may be.
var parts = map[string][][]string{
	"Observation": {
		{`"status":"{status}"`}, {`"code":{concept}`}, {`"category":[{concept}]`, `"category":[{concept},{concept}]`}, {`"subject":{patient}`}, {`"identifier":[{identifier}]`, `"identifier":[{identifier},{identifier}]`},
		{`"effectiveDateTime":"{date}"`, `"effectivePeriod":{period}`, `"effectiveTiming":{"event":["{date}","{date}"]}`, `"effectiveInstant":"2024-02-29T23:59:59.5Z"`},
		{`"valueQuantity":{quantity}`, `"valueQuantity":{quantity}`, `"valueCodeableConcept":{concept}`, `"valueString":"{text}"`, `"valueDateTime":"{date}"`, `"valuePeriod":{period}`, `"valueInteger":72`},
		{`"component":[{component}]`, `"component":[{component},{component}]`}, {`"device":{"reference":"Device/{id}"}`, `"device":{"reference":"DeviceMetric/{id}"}`},
		{`"performer":[{"reference":"Organization/{id}"},{patient}]`}, {`"hasMember":[{"reference":"Observation/{id}"}]`}, {`"method":{concept}`}, {`"dataAbsentReason":{concept}`},
		{`"encounter":{"reference":"Encounter/{id}"}`},
	},
	"Patient": {
		{`"identifier":[{identifier}]`, `"identifier":[{many}]`}, {`"name":[{"family":"{text}","given":["{text}","{text}"]},{"text":"{text}"}]`, `"name":[{"family":"{text}"}]`}, {`"gender":"male"`, `"gender":"other"`},
		{`"birthDate":"{day}"`}, {`"active":true`, `"active":false`}, {`"address":[{"city":"{text}","line":["{text}"]}]`}, {`"telecom":[{"system":"phone","value":"{text}"}]`},
		{`"deceasedBoolean":true`, `"deceasedDateTime":"{date}"`}, {`"link":[{"other":{"reference":"Patient/{id}"},"type":"seealso"}]`},
	},
	"Device": {
		{`"identifier":[{identifier},{identifier}]`}, {`"type":{concept}`}, {`"status":"active"`}, {`"patient":{patient}`}, {`"manufacturer":"{text}"`}, {`"deviceName":[{"name":"{text}","type":"model-name"}]`}, {`"url":"http://x.example/{id}"`},
	},
	"Encounter": {
		{`"status":"finished"`}, {`"class":{coding}`}, {`"subject":{patient}`}, {`"period":{period}`}, {`"length":{quantity}`}, {`"participant":[{"individual":{"reference":"Practitioner/{id}"},"period":{period}}]`},
	},
	"RiskAssessment": {{`"subject":{patient}`}, {`"prediction":[{"probabilityDecimal":{number}},{"probabilityRange":{"low":{"value":0.1},"high":{"value":{number}}}}]`}, {`"occurrenceDateTime":"{date}"`}},
	"ValueSet":       {{`"url":"http://x.example/{id}/{id}"`, `"url":"http://x.example/s"`}, {`"version":"{number}"`}, {`"name":"{text}"`}, {`"status":"active"`}, {`"date":"{date}"`}},
}

var meta = []string{`"meta":{"profile":["http://x.example/{id}"],"tag":[{coding}],"source":"http://x.example/s/{id}"}`, `"meta":{"security":[{coding}]}`}

func (w *world) expand(template string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(template, '{')
		if i < 0 {
			b.WriteString(template)
			return b.String()
		}
		j := i + strings.IndexByte(template[i:], '}')
		if list := words[template[i+1:max(j, i+1)]]; list != nil {
			b.WriteString(template[:i] + w.expand(pick(w.Rand, list...)))
			template = template[j+1:]
			continue
		}
		b.WriteString(template[:i+1])
		template = template[i+1:]
	}
}

func newWorld(t testing.TB, seed uint64, n int) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 5))}
	types := []string{"Observation", "Observation", "Observation", "Patient", "Device", "Encounter", "RiskAssessment", "ValueSet"}
	for i := range n {
		of := pick(w.Rand, types...)
		text := []string{fmt.Sprintf(`"resourceType":%q`, of)}
		for _, alternatives := range parts[of] {
			if w.IntN(10) < 7 {
				text = append(text, w.expand(pick(w.Rand, alternatives...)))
			}
		}
		if w.IntN(3) == 0 {
			text = append(text, w.expand(pick(w.Rand, meta...)))
		}
		_, _, compact, err := fhir.Parse([]byte("{" + strings.Join(text, ",") + "}"))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		r := resource{key: fhir.Key{Type: of, ID: fmt.Sprint(pick(w.Rand, words["id"]...), i), Version: fmt.Sprint(1 + w.IntN(12))},
			updated: time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC).Add(time.Duration(w.IntN(3000)) * time.Millisecond), json: compact}
		if w.IntN(4) == 0 {
			r.key.ID = pick(w.Rand, words["id"]...)
		}
		if slices.ContainsFunc(w.resources, func(o resource) bool { return o.key.Type == of && o.key.ID == r.key.ID }) {
			continue
		}
		if r.terms, err = search.R4().Extract(of, compact); err != nil {
			t.Fatal(err)
		}
		w.resources = append(w.resources, r)
	}
	return w
}

var escaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`)

// one is a random value that is of a parameter.
func one[T any](w *world, of func(t *search.Terms) []T, is func(T) bool) (v T, ok bool) {
	for range 30 {
		r := &w.resources[w.IntN(len(w.resources))]
		for _, i := range w.Perm(len(of(&r.terms))) {
			if x := of(&r.terms)[i]; is(x) {
				return x, true
			}
		}
	}
	return v, false
}

// value is text for a parameter and a modifier, of something that some resource has.
func (w *world) value(p search.Param, modifier string) string {
	token := func(system, code string) string {
		system, code = escaper.Replace(system), escaper.Replace(code)
		return pick(w.Rand, code, system+"|"+code, system+"|"+code, "|"+code, system+"|")
	}
	part := func(s string) string {
		r := []rune(s)
		if len(r) < 2 || w.IntN(3) == 0 {
			return escaper.Replace(s)
		}
		i := w.IntN(len(r))
		if modifier != "contains" {
			i = 0
		}
		return escaper.Replace(string(r[i : i+1+w.IntN(len(r)-i)]))
	}
	prefix := pick(w.Rand, "", "", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap")
	switch {
	case modifier == "missing":
		return pick(w.Rand, "true", "false")
	case p.Name == "_id":
		return pick(w.Rand, append(words["id"], w.resources[w.IntN(len(w.resources))].key.ID)...)
	case p.Name == "_lastUpdated":
		return prefix + pick(w.Rand, "2024", "2024-02-29", "2024-03-01", "2024-02-29T23:59:59Z", "2024-03-01T00:00:00.500Z")
	case modifier == "in", modifier == "not-in":
		return "http://hl7.org/fhir/ValueSet/" + pick(w.Rand, "observation-status", "administrative-gender", "observation-vitalsignresult")
	case modifier == "identifier":
		r, _ := one(w, func(t *search.Terms) []search.Reference { return t.References }, func(r search.Reference) bool { return r.Param == p.Name && r.IdentifierValue != "" })
		return token(r.IdentifierSystem, r.IdentifierValue)
	case modifier == "text":
		s, _ := one(w, func(t *search.Terms) []search.String { return t.Strings }, func(s search.String) bool { return s.Param == p.Name+":text" })
		return part(s.Text)
	case modifier == "of-type":
		v, _ := one(w, func(t *search.Terms) []search.Token { return t.Tokens }, func(v search.Token) bool { return v.Param == p.Name+":of-type" })
		code, value, _ := strings.Cut(v.Code, "|")
		return escaper.Replace(v.System) + "|" + escaper.Replace(code) + "|" + escaper.Replace(value)
	}
	switch p.Type {
	case search.TokenParam:
		v, ok := one(w, func(t *search.Terms) []search.Token { return t.Tokens }, func(v search.Token) bool { return v.Param == p.Name })
		if !ok || w.IntN(10) == 0 {
			return token(pick(w.Rand, words["system"]...), pick(w.Rand, words["code"]...))
		}
		return token(v.System, v.Code)
	case search.StringParam:
		v, _ := one(w, func(t *search.Terms) []search.String { return t.Strings }, func(v search.String) bool { return v.Param == p.Name })
		return part(v.Text)
	case search.URIParam:
		v, _ := one(w, func(t *search.Terms) []search.URI { return t.URIs }, func(v search.URI) bool { return v.Param == p.Name })
		if i := strings.LastIndexByte(v.Value, '/'); i > 8 && w.IntN(2) == 0 {
			v.Value = v.Value[:i]
		} else if w.IntN(3) == 0 {
			v.Value += "/more"
		}
		return escaper.Replace(v.Value)
	case search.ReferenceParam:
		v, ok := one(w, func(t *search.Terms) []search.Reference { return t.References }, func(v search.Reference) bool { return v.Param == p.Name })
		switch {
		case !ok:
			return "Patient/" + pick(w.Rand, words["id"]...)
		case v.URL != "":
			return escaper.Replace(v.URL)
		}
		return pick(w.Rand, v.ID, v.Type+"/"+v.ID, v.Type+"/"+v.ID)
	case search.DateParam:
		v, ok := one(w, func(t *search.Terms) []search.Date { return t.Dates }, func(v search.Date) bool { return v.Param == p.Name })
		at := pick(w.Rand, v.Low, v.High)
		if !ok || at.IsZero() {
			return prefix + strings.ReplaceAll(pick(w.Rand, words["date"]...), "+", "%2B")
		}
		return prefix + at.UTC().Format(pick(w.Rand, "2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z", "2006-01-02T15:04:05Z", "2006-01-02T15:04:05.999999999Z"))
	case search.NumberParam, search.QuantityParam:
		v, _ := one(w, func(t *search.Terms) []search.Quantity { return t.Quantities }, func(v search.Quantity) bool { return v.Param == p.Name })
		number := pick(w.Rand, words["number"]...)
		if n := v.Low; n != nil && w.IntN(3) > 0 {
			number = n.Text('f')
		}
		if p.Type == search.NumberParam {
			return prefix + number
		}
		return prefix + number + pick(w.Rand, "", "||"+v.Code, "|"+escaper.Replace(v.System)+"|"+escaper.Replace(v.Code), "|"+escaper.Replace(v.System)+"|"+escaper.Replace(v.Code),
			"|http://unitsofmeasure.org|"+pick(w.Rand, "mm[Hg]", "kPa", "Cel", "[degF]", "K", "g", "/min", "Hz"))
	case search.CompositeParam:
		var all []string
		for _, c := range p.Components {
			all = append(all, w.value(c, ""))
		}
		return strings.Join(all, "$")
	}
	return "x"
}

// query is a random query of a type, parsed, without chains and compartments but with the sets
// that they become.
func (w *world) query(t testing.TB, of string) (search.Query, string, bool) {
	params := search.R4().Of(of)
	var pairs []string
	add := func(name, value string) {
		pair := url.QueryEscape(name) + "=" + url.QueryEscape(value)
		one, err := search.Pairs(pair)
		if err != nil {
			return
		}
		if _, issues, err := search.R4().Parse(of, one, search.Options{Handling: search.Strict, Now: now}); err == nil && len(issues) == 0 {
			pairs = append(pairs, pair)
		}
	}
	for range 1 + w.IntN(3) {
		p := pick(w.Rand, params...)
		if w.IntN(3) == 0 { // those that people use
			if q, ok := search.R4().Lookup(of, pick(w.Rand, "patient", "code", "category", "date", "subject", "device", "identifier", "name", "birthdate", "value-quantity", "url", "component-value-quantity")); ok {
				p = q
			}
		}
		name, modifier := p.Name, pick(w.Rand, append(search.R4().Modifiers(of, p.Name), "", "", "")...)
		if modifier != "" {
			name += ":" + modifier
		}
		values := w.value(p, modifier)
		if modifier != "missing" && w.IntN(4) == 0 {
			values += "," + w.value(p, modifier)
		}
		add(name, values)
	}
	var by []string
	for range w.IntN(3) {
		p := pick(w.Rand, params...)
		if w.IntN(2) == 0 {
			p, _ = search.R4().Lookup(of, pick(w.Rand, "date", "_id", "_lastUpdated"))
		}
		if p.Sortable && !slices.ContainsFunc(by, func(s string) bool { return strings.TrimPrefix(s, "-") == p.Name }) {
			by = append(by, pick(w.Rand, "", "-")+p.Name)
		}
	}
	if len(by) > 0 {
		add("_sort", strings.Join(by, ","))
	}
	text := strings.Join(pairs, "&")
	all, err := search.Pairs(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	q, issues, err := search.R4().Parse(of, all, search.Options{Handling: search.Strict, Now: now})
	if err != nil || len(issues) > 0 {
		return q, "", false // clauses that do not go together
	}
	if w.IntN(6) == 0 { // what a chain becomes
		if p, ok := search.R4().Lookup(of, pick(w.Rand, "patient", "subject", "device", "_id")); ok {
			c := search.Clause{Param: p, Among: map[fhir.Key]bool{}}
			for range w.IntN(4) {
				c.Among[fhir.Key{Type: pick(w.Rand, "Patient", "Device", of), ID: pick(w.Rand, words["id"]...)}] = true
			}
			if p.Name == "_id" {
				c.Param = search.Param{}
				c.Has = &search.Has{}
			}
			q.Where = append(q.Where, c)
			text += fmt.Sprintf(" and %s among %v", p.Name, c.Among)
		}
	}
	if w.IntN(6) == 0 {
		if c, ok := search.R4().InCompartment(of, pick(w.Rand, "Patient", "Device", "Encounter"), pick(w.Rand, words["id"]...)); ok {
			q.Where = append(q.Where, c)
			text += " in a compartment"
		}
	}
	return q, of + "?" + text, true
}

var now = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
