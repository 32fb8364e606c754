package storetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// testAnswers asks a store random queries of every kind, made of what its resources have,
// and compares the answers with what the plain meaning of search finds. With KILN_LONG in
// the environment it compares some 40 times as much.
func testAnswers(t *testing.T, open func(t *testing.T) store.Store) {
	rounds, queries := 4, 250
	if long() {
		rounds, queries = 80, 500
	}
	pairs, found := 0, 0
	for seed := range rounds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := opened(t, open)
			x := &answers{rand: rand.New(rand.NewPCG(uint64(seed), 1)), at: map[fhir.Key]known{}}
			x.fill(t, s)
			limit := newBudget(rounds, 25)
			for n := 0; n < queries && !t.Failed(); n++ {
				limit.round(func() {
					p, f := x.ask(t, s)
					pairs, found = pairs+p, found+f
				})
			}
		})
	}
	t.Logf("%d pairs of a query and a resource, %d of them match", pairs, found)
}

// answers is the plain store: everything that is there, with its terms.
type answers struct {
	rand *rand.Rand
	at   map[fhir.Key]known
	keys []fhir.Key
}

type known struct {
	updated time.Time
	terms   search.Terms
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// fill writes resources, changes some, and deletes some.
func (x *answers) fill(t *testing.T, s store.Store) {
	types := slices.Sorted(maps.Keys(contents))
	for round := range 3 {
		var changes []store.Change
		seen := map[fhir.Key]bool{}
		for range 120 {
			k := key(pick(x.rand, types), pick(x.rand, ids))
			if x.rand.IntN(3) == 0 {
				k.Type = "Observation"
			}
			if seen[k] {
				continue
			}
			seen[k] = true
			c := store.Change{Key: k, Delete: round > 0 && x.rand.IntN(5) == 0}
			if !c.Delete {
				c.JSON = x.resource(t, k.Type)
			}
			changes = append(changes, c)
		}
		for i, r := range write(t, s, changes...) {
			if delete(x.at, key(r.Type, r.ID)); changes[i].Delete {
				continue
			}
			terms, err := search.R4().Extract(r.Type, r.JSON)
			if err != nil {
				t.Fatal(err)
			}
			x.at[key(r.Type, r.ID)] = known{r.LastUpdated, terms}
		}
	}
	x.keys = slices.SortedFunc(maps.Keys(x.at), func(a, b fhir.Key) int { return strings.Compare(a.String(), b.String()) })
}

// resource is a resource with some of the elements that it may have.
func (x *answers) resource(t *testing.T, of string) []byte {
	parts := []string{`"resourceType":"` + of + `"`}
	for _, alternatives := range contents[of] {
		if x.rand.IntN(10) < 7 {
			parts = append(parts, x.expand(pick(x.rand, alternatives)))
		}
	}
	if x.rand.IntN(4) == 0 {
		parts = append(parts, x.expand(`"meta":{"profile":["<url>"],"tag":[<coding>],"source":"<url>"}`))
	}
	_, _, compact, err := fhir.Parse([]byte("{" + strings.Join(parts, ",") + "}"))
	if err != nil {
		t.Fatalf("%s: %v", parts, err)
	}
	return compact
}

// expand replaces <names> by one of what they stand for.
func (x *answers) expand(text string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "<")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, ">")
		if from := pieces[name]; from != nil {
			b.WriteString(x.expand(pick(x.rand, from)))
		} else {
			b.WriteString("<" + name + ">")
		}
		text = after
	}
}

// ask compares the answer to one query, and tells how many resources of its type there are,
// and how many match.
func (x *answers) ask(t *testing.T, s store.Store) (pairs, found int) {
	of := pick(x.rand, x.keys).Type
	text := of + "?" + x.query(of)
	params, err := search.Pairs(text[len(of)+1:])
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	q, issues, err := search.R4().Parse(of, params, search.Options{Handling: search.Strict, Now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)})
	if err != nil || len(issues) > 0 {
		t.Fatalf("%s: %v %v", text, err, issues)
	}
	if compartment := pick(x.rand, []string{"", "", "", "Patient", "Device", "Encounter"}); compartment != "" {
		if c, ok := search.R4().InCompartment(of, compartment, pick(x.rand, ids)); ok {
			q.Where = append(q.Where, c)
			text += " in a compartment of " + compartment
		}
	}
	want, err := x.find(q)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	got, err := walk(context.Background(), s, q)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s:\n got %v %v\nwant %v", text, got, err, want)
		return 0, 0
	}
	q.Count, q.Total = 0, search.TotalAccurate
	page, err := s.Search(context.Background(), q)
	if err != nil || page.Total != len(want) {
		t.Errorf("%s: got a total of %d %v, want %d", text, page.Total, err, len(want))
	}
	if e, ok := optional[store.Explainer](s); ok {
		if plan, err := e.Explain(context.Background(), q); err != nil || plan.Type != of || len(plan.Indexes) == 0 {
			t.Errorf("%s: got the plan %+v %v", text, plan, err)
		}
	}
	for _, k := range x.keys {
		if k.Type == of {
			pairs++
		}
	}
	return pairs, len(want)
}

// find is the plain meaning of a query.
func (x *answers) find(q search.Query) ([]string, error) {
	q, err := q.Resolve(func(sub search.Query, found func(fhir.Key, *search.Terms) error) error {
		for _, k := range x.keys {
			if r := x.at[k]; sub.Matches(k, r.updated, &r.terms) {
				if err := found(k, &r.terms); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var places []search.Cursor
	for _, k := range x.keys {
		if r := x.at[k]; q.Matches(k, r.updated, &r.terms) {
			places = append(places, q.SortKeys(k, r.updated, &r.terms))
		}
	}
	slices.SortFunc(places, q.Compare)
	var ids []string
	for _, c := range places {
		ids = append(ids, c.ID)
	}
	return ids, nil
}

// query is a random query of a type, escaped as in a URL.
func (x *answers) query(of string) string {
	var pairs []string
	add := func(name, value string) {
		pairs = append(pairs, name+"="+strings.NewReplacer("%", "%25", "&", "%26", "+", "%2B", "#", "%23", ";", "%3B", "\x00", "%00").Replace(value))
	}
	for range x.rand.IntN(4) {
		if name, value := x.clause(of, 0); value != "" {
			add(name, value)
		}
	}
	params := search.R4().Of(of)
	var by []string
	for range x.rand.IntN(3) {
		p := pick(x.rand, params)
		if p.Sortable && !slices.Contains(by, p.Name) && !slices.Contains(by, "-"+p.Name) {
			by = append(by, pick(x.rand, []string{"", "-"})+p.Name)
		}
	}
	if len(by) > 0 {
		add("_sort", strings.Join(by, ","))
	}
	add("_count", fmt.Sprint(pick(x.rand, []int{1, 2, 3, 7, 50})))
	return strings.Join(pairs, "&")
}

// clause is a random condition on resources of a type.
func (x *answers) clause(of string, depth int) (name, value string) {
	params := search.R4().Of(of)
	if depth < 3 {
		switch x.rand.IntN(10) {
		case 0:
			return x.chain(of, params, depth)
		case 1:
			return x.has(of, depth)
		}
	}
	// Parameters that some resource has are worth more.
	p := pick(x.rand, params)
	var terms []*search.Terms
	for range 5 {
		if terms = x.with(of, p.Name); len(terms) > 0 {
			break
		}
		p = pick(x.rand, params)
	}
	name = p.Name
	modifiers := append(search.R4().Modifiers(of, p.Name), "", "", "", "")
	modifier := pick(x.rand, modifiers)
	if modifier != "" {
		name += ":" + modifier
	}
	var values []string
	for range 1 + x.rand.IntN(2) {
		var t *search.Terms
		if len(terms) > 0 {
			t = pick(x.rand, terms)
		}
		if v := x.value(of, p, modifier, t); v != "" {
			values = append(values, v)
		}
	}
	if modifier == "missing" {
		values = []string{pick(x.rand, []string{"true", "false"})}
	}
	return name, strings.Join(values, ",")
}

// with are the terms of the resources of a type that have a parameter.
func (x *answers) with(of, name string) []*search.Terms {
	var all []*search.Terms
	for _, k := range x.keys {
		if k.Type != of {
			continue
		}
		t := x.at[k].terms
		missing := search.Query{Type: of, Where: []search.Clause{{Modifier: "missing", Values: []search.Value{{Missing: false}}}}}
		missing.Where[0].Param, _ = search.R4().Lookup(of, name)
		if missing.Matches(k, x.at[k].updated, &t) {
			all = append(all, &t)
		}
	}
	return all
}

func (x *answers) chain(of string, params []search.Param, depth int) (name, value string) {
	var links []string
	for _, p := range params {
		if p.Type == search.ReferenceParam {
			for _, target := range p.Targets {
				if contents[target] != nil {
					links = append(links, p.Name+":"+target)
				}
			}
		}
	}
	if len(links) == 0 {
		return "", ""
	}
	link := pick(x.rand, links)
	_, target, _ := strings.Cut(link, ":")
	name, value = x.clause(target, depth+1)
	if !x.accepted(of, link+"."+name, value) {
		return "", ""
	}
	return link + "." + name, value
}

func (x *answers) has(of string, depth int) (name, value string) {
	var links []string
	for source := range contents {
		for _, p := range search.R4().Of(source) {
			if p.Type == search.ReferenceParam && slices.Contains(p.Targets, of) {
				links = append(links, source+":"+p.Name)
			}
		}
	}
	if len(links) == 0 {
		return "", ""
	}
	slices.Sort(links)
	link := pick(x.rand, links)
	source, _, _ := strings.Cut(link, ":")
	name, value = x.clause(source, depth+1)
	if name = "_has:" + link + ":" + name; !x.accepted(of, name, value) {
		return "", ""
	}
	return name, value
}

// accepted reports whether a link can be followed: _has by a canonical URL cannot.
func (x *answers) accepted(of, name, value string) bool {
	_, _, err := search.R4().Parse(of, []search.Pair{{Name: name, Value: value}}, search.Options{Handling: search.Strict})
	return err == nil
}

var escaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`)

// value is text for a parameter, of a term if there is one.
func (x *answers) value(of string, p search.Param, modifier string, t *search.Terms) string {
	text := x.text(of, p, modifier, t)
	if len(text) > 1000 || modifier == "" && !x.accepted(of, p.Name, text) || modifier != "" && !x.accepted(of, p.Name+":"+modifier, text) {
		return ""
	}
	return text
}

func (x *answers) text(of string, p search.Param, modifier string, t *search.Terms) string {
	switch {
	case p.Name == "_id":
		return pick(x.rand, ids)
	case p.Name == "_lastUpdated":
		return pick(x.rand, prefixes) + pick(x.rand, []string{"2020", "2100-01-01", time.Now().UTC().Format("2006-01-02")})
	case modifier == "in", modifier == "not-in":
		return "http://hl7.org/fhir/ValueSet/" + pick(x.rand, []string{"observation-status", "observation-category", "administrative-gender", "observation-vitalsignresult", "encounter-status"})
	case t == nil:
		return pick(x.rand, []string{"nothing", "2026", "1", "http://x.example/none", "true"})
	case modifier == "text":
		return x.part(some(x.rand, t.Strings, func(v search.String) bool { return v.Param == p.Name+":text" }).Text, true)
	case modifier == "of-type":
		v := some(x.rand, t.Tokens, func(v search.Token) bool { return v.Param == p.Name+":of-type" })
		code, value, _ := strings.Cut(v.Code, "|")
		return escaper.Replace(v.System) + "|" + escaper.Replace(code) + "|" + escaper.Replace(value)
	case modifier == "identifier":
		v := some(x.rand, t.References, func(v search.Reference) bool { return v.Param == p.Name })
		return x.token(v.IdentifierSystem, v.IdentifierValue)
	}
	switch p.Type {
	case search.TokenParam:
		v := some(x.rand, t.Tokens, func(v search.Token) bool { return v.Param == p.Name })
		return x.token(v.System, v.Code)
	case search.StringParam:
		v := some(x.rand, t.Strings, func(v search.String) bool { return v.Param == p.Name }).Text
		switch modifier {
		case "exact":
			return escaper.Replace(v)
		case "contains":
			return x.part(v, false)
		}
		return x.part(v, true)
	case search.URIParam:
		v := some(x.rand, t.URIs, func(v search.URI) bool { return v.Param == p.Name }).Value
		if i := strings.LastIndexByte(v, '/'); i > 0 && modifier == "below" && x.rand.IntN(2) == 0 {
			v = v[:i]
		} else if modifier == "above" && x.rand.IntN(2) == 0 {
			v += "/more"
		}
		return escaper.Replace(v)
	case search.ReferenceParam:
		v := some(x.rand, t.References, func(v search.Reference) bool { return v.Param == p.Name })
		switch {
		case v.URL != "" && v.Version != "" && x.rand.IntN(2) == 0:
			return escaper.Replace(v.URL) + "|" + escaper.Replace(v.Version)
		case v.URL != "":
			return escaper.Replace(v.URL)
		case x.rand.IntN(2) == 0:
			return v.ID
		}
		return v.Type + "/" + v.ID
	case search.DateParam:
		v := some(x.rand, t.Dates, func(v search.Date) bool { return v.Param == p.Name })
		at := pick(x.rand, []time.Time{v.Low, v.High})
		if at.IsZero() {
			at = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
		}
		return pick(x.rand, prefixes) + at.Format(pick(x.rand, []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z", "2006-01-02T15:04:05.999999999Z"}))
	case search.QuantityParam, search.NumberParam:
		return x.number(p, t)
	case search.CompositeParam:
		tuple := some(x.rand, t.Tuples, func(v search.Tuple) bool { return v.Param == p.Name })
		var parts []string
		for i, c := range p.Components {
			if i < len(tuple.Parts) {
				parts = append(parts, x.text(of, c, "", &tuple.Parts[i]))
			}
		}
		if text := strings.Join(parts, "$"); x.accepted(of, p.Name, text) {
			return text
		}
	}
	return ""
}

func some[T any](r *rand.Rand, from []T, is func(T) bool) (one T) {
	n := 0
	for _, v := range from {
		if is(v) {
			if n++; r.IntN(n) == 0 {
				one = v
			}
		}
	}
	return one
}

func (x *answers) token(system, code string) string {
	code, system = escaper.Replace(code), escaper.Replace(system)
	switch x.rand.IntN(5) {
	case 0:
		return code
	case 1:
		return system + "|"
	case 2:
		return "|" + code
	}
	return system + "|" + code
}

// part is a part of a text, or its beginning.
func (x *answers) part(text string, beginning bool) string {
	runes := []rune(text)
	from := 0
	if x.rand.IntN(4) == 0 {
		return escaper.Replace(text)
	}
	if !beginning && len(runes) > 0 {
		from = x.rand.IntN(len(runes))
	}
	return escaper.Replace(string(runes[from : from+x.rand.IntN(len(runes)-from+1)]))
}

func (x *answers) number(p search.Param, t *search.Terms) string {
	v := some(x.rand, t.Quantities, func(v search.Quantity) bool { return v.Param == p.Name })
	n := v.Low
	if n == nil || v.High != nil && x.rand.IntN(2) == 0 {
		n = v.High
	}
	if n == nil {
		n = apd.New(72, 0)
	}
	text := pick(x.rand, prefixes) + n.Text('f')
	if p.Type == search.NumberParam {
		return text
	}
	system, code := escaper.Replace(v.System), escaper.Replace(v.Code)
	switch x.rand.IntN(6) {
	case 0:
		return text
	case 1:
		return text + "||" + pick(x.rand, []string{code, escaper.Replace(v.Unit)})
	case 2:
		return text + "|" + system + "|"
	case 3:
		return text + "|http://unitsofmeasure.org|" + pick(x.rand, []string{"mg", "g", "kg", "Cel", "[degF]", "K", "mm[Hg]", "kPa", "/min", "Hz", "[pH]"})
	}
	return text + "|" + system + "|" + code
}

// contents are the elements of some types of resources: of each list one at most.
var contents = map[string][][]string{
	"Observation": {
		{`"status":"<status>"`}, {`"code":<concept>`}, {`"category":[<concept>]`, `"category":[<vital>]`, `"category":[<vital>]`, `"category":[<concept>,<vital>]`},
		{`"subject":<subject>`}, {`"encounter":{"reference":"Encounter/<id>"}`}, {`"identifier":[<identifier>,<identifier>]`, `"identifier":[<identifier>]`},
		{`"effectiveDateTime":"<date>"`, `"effectivePeriod":<period>`, `"effectiveInstant":"2026-01-02T03:04:05.5Z"`, `"effectiveTiming":{"event":["<date>","<date>"]}`},
		{`"valueQuantity":<quantity>`, `"valueQuantity":<quantity>`, `"valueCodeableConcept":<concept>`, `"valueString":"<text>"`, `"valueDateTime":"<date>"`, `"valuePeriod":<period>`,
			`"valueRange":{"low":{"value":5,"code":"kg","system":"http://unitsofmeasure.org"},"high":<amount>}`,
			`"valueSampledData":{"origin":{"value":0,"system":"http://unitsofmeasure.org","code":"mm[Hg]"},"period":10,"factor":0.5,"dimensions":1,"data":"100 E 150 U 144"}`, `"valueBoolean":true`, `"valueInteger":72`},
		{`"device":{"reference":"Device/<id>"}`, `"device":{"reference":"DeviceMetric/<id>"}`}, {`"performer":[{"reference":"Organization/<id>"},<reference>]`},
		{`"component":[<component>,<component>]`, `"component":[<component>]`}, {`"interpretation":[<concept>]`}, {`"bodySite":<concept>`}, {`"method":<concept>`},
		{`"hasMember":[{"reference":"Observation/<id>"}]`}, {`"derivedFrom":[{"reference":"Observation/<id>"}]`}, {`"dataAbsentReason":<concept>`},
	},
	"Patient": {
		{`"identifier":[<identifier>]`}, {`"name":[<name>,<name>]`, `"name":[<name>]`}, {`"gender":"<gender>"`}, {`"birthDate":"<day>"`}, {`"active":true`, `"active":false`},
		{`"address":[{"city":"<text>","country":"<text>","line":["<text>"]}]`}, {`"telecom":[{"system":"phone","value":"<text>"}]`}, {`"deceasedBoolean":true`, `"deceasedDateTime":"<date>"`},
		{`"managingOrganization":{"reference":"Organization/<id>"}`}, {`"link":[{"other":{"reference":"Patient/<id>"},"type":"seealso"}]`}, {`"generalPractitioner":[{"reference":"Organization/<id>"}]`},
	},
	"Device": {
		{`"identifier":[<identifier>]`}, {`"patient":<subject>`}, {`"type":<concept>`}, {`"status":"active"`}, {`"deviceName":[{"name":"<text>","type":"model-name"}]`}, {`"manufacturer":"<text>"`},
		{`"modelNumber":"<text>"`}, {`"serialNumber":"<text>"`}, {`"owner":{"reference":"Organization/<id>"}`}, {`"url":"<url>"`}, {`"udiCarrier":[{"deviceIdentifier":"<text>","carrierHRF":"<text>"}]`},
		{`"parent":{"reference":"Device/<id>"}`},
	},
	"DeviceMetric": {
		{`"type":<concept>`}, {`"category":"measurement"`, `"category":"setting"`}, {`"source":{"reference":"Device/<id>"}`}, {`"parent":{"reference":"Device/<id>"}`}, {`"identifier":[<identifier>]`},
		{`"operationalStatus":"on"`, `"operationalStatus":"off"`},
	},
	"Encounter": {
		{`"status":"finished"`, `"status":"planned"`}, {`"class":<coding>`}, {`"subject":<subject>`}, {`"period":<period>`}, {`"length":<amount>`}, {`"serviceProvider":{"reference":"Organization/<id>"}`},
		{`"partOf":{"reference":"Encounter/<id>"}`}, {`"identifier":[<identifier>]`}, {`"type":[<concept>]`}, {`"diagnosis":[{"condition":{"reference":"Condition/<id>"}}]`},
	},
	"Organization": {
		{`"identifier":[<identifier>]`}, {`"name":"<text>"`}, {`"alias":["<text>"]`}, {`"partOf":{"reference":"Organization/<id>"}`}, {`"address":[{"city":"<text>","postalCode":"<text>"}]`}, {`"active":true`}, {`"type":[<concept>]`},
	},
	"ValueSet": {
		{`"url":"<url>"`}, {`"version":"<text>"`}, {`"name":"<text>"`}, {`"title":"<text>"`}, {`"status":"active"`, `"status":"draft"`}, {`"date":"<date>"`}, {`"jurisdiction":[<concept>]`}, {`"description":"<text>"`},
		{`"compose":{"include":[{"system":"<url>"}]}`}, {`"useContext":[{"code":<coding>,"valueCodeableConcept":<concept>},{"code":<coding>,"valueQuantity":<amount>}]`},
	},
	"RiskAssessment": {
		{`"subject":<subject>`}, {`"prediction":[{"probabilityDecimal":0.3},{"probabilityRange":{"low":{"value":0.1},"high":{"value":72}}}]`, `"prediction":[{"probabilityDecimal":72}]`},
		{`"occurrenceDateTime":"<date>"`, `"occurrencePeriod":<period>`}, {`"method":<concept>`},
	},
	"MolecularSequence": {
		{`"coordinateSystem":1`}, {`"referenceSeq":{"windowStart":7,"windowEnd":72,"chromosome":<concept>}`}, {`"variant":[{"start":7,"end":72},{"start":1,"end":2}]`}, {`"patient":<subject>`}, {`"type":"dna"`},
	},
	"Group": {
		{`"type":"person"`}, {`"actual":true`}, {`"characteristic":[{"code":<concept>,"valueCodeableConcept":<concept>},{"code":<concept>,"valueQuantity":<quantity>}]`}, {`"member":[{"entity":{"reference":"Patient/<id>"}}]`}, {`"code":<concept>`},
	},
	"DocumentReference": {
		{`"subject":<subject>`}, {`"relatesTo":[{"code":"replaces","target":{"reference":"DocumentReference/<id>"}},{"code":"appends","target":{"reference":"DocumentReference/<id>"}}]`}, {`"date":"2026-01-02T03:04:05Z"`},
		{`"content":[{"attachment":{"url":"<url>","creation":"<date>","language":"de"}}]`}, {`"type":<concept>`}, {`"category":[<concept>]`},
	},
	"QuestionnaireResponse": {
		{`"questionnaire":"<url>|1"`, `"questionnaire":"<url>|2"`, `"questionnaire":"<url>"`}, {`"subject":<subject>`}, {`"authored":"<date>"`}, {`"status":"completed"`}, {`"author":<reference>`},
	},
}

// pieces are what the names in contents stand for.
var pieces = map[string][]string{
	"id":      ids,
	"status":  {"final", "final", "preliminary", "entered-in-error"},
	"gender":  {"male", "female", "other"},
	"coding":  append([]string{`{"system":"http://loinc.org","code":"` + strings.Repeat("long", 40) + `"}`}, codes...),
	"concept": {`{"coding":[<coding>],"text":"<text>"}`, `{"coding":[<coding>,<coding>]}`, `{"text":"<text>"}`},
	"vital":   {`{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}`},
	"subject": append([]string{`{"reference":"Patient/<id>"}`, `{"reference":"Patient/<id>"}`, `{"reference":"Patient/<id>"}`, `{"reference":"Group/<id>"}`}, subjects...),
	"reference": {
		`{"reference":"Patient/<id>"}`, `{"reference":"Device/<id>"}`, `{"reference":"https://other.example/fhir/Practitioner/1"}`, `{"identifier":<identifier>}`,
	},
	"identifier": {`{"system":"urn:mrn","value":"1"}`, `{"system":"urn:MRN","value":"a|b,c$d\\e"}`, `{"value":"1"}`, `{"system":"urn:mrn","value":"x\u0000y"}`, `{"value":"` + strings.Repeat("long", 50) + `"}`,
		`{"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"MR"}],"text":"record"},"system":"urn:mrn","value":"77"}`},
	"date":     dates,
	"day":      {"1950", "1950-06", "1950-06-15", "2000-01-01"},
	"period":   {`{"start":"2026-01-01","end":"2026-01-03"}`, `{"start":"2026-01-02"}`, `{"end":"2026-01-02"}`, `{"start":"<date>"}`, `{"start":"1900","end":"2500"}`},
	"text":     {"Smith", "smith", "Smíth-Jones", "Müller", "72", "a b", "  ", "x,y|z$\\\\", "Ω", "a\\u0000b", strings.Repeat("long text ", 30), strings.Repeat("long text ", 30) + "b", "Hamburg"},
	"name":     {`{"family":"<text>","given":["<text>","<text>"]}`, `{"text":"<text>"}`, `{"family":"<text>"}`},
	"url":      {"http://a.example/fhir/x", "http://a.example/fhir/x/y", "http://a.example/fhir", "http://a.example/fhirx", "urn:uuid:0d5fc6a4-6d5e-4b3e-9d2b-111111111111", "http://a.example/" + strings.Repeat("deep/", 40) + "1", "http://a.example/" + strings.Repeat("deep/", 40) + "2"},
	"quantity": {`<amount>`, `{"value":72,"comparator":"\u003c","system":"http://unitsofmeasure.org","code":"g"}`, `{"value":72,"comparator":">=","system":"http://unitsofmeasure.org","code":"mm[Hg]"}`},
	"amount": {
		`{"value":72,"unit":"grams","system":"http://unitsofmeasure.org","code":"g"}`, `{"value":0.072,"system":"http://unitsofmeasure.org","code":"kg"}`, `{"value":72000,"system":"http://unitsofmeasure.org","code":"mg"}`,
		`{"value":37.0,"system":"http://unitsofmeasure.org","code":"Cel"}`, `{"value":98.6,"system":"http://unitsofmeasure.org","code":"[degF]"}`, `{"value":310.15,"system":"http://unitsofmeasure.org","code":"K"}`,
		`{"value":120,"system":"http://unitsofmeasure.org","code":"mm[Hg]"}`, `{"value":16,"system":"http://unitsofmeasure.org","code":"kPa"}`, `{"value":60,"system":"http://unitsofmeasure.org","code":"/min"}`, `{"value":1,"system":"http://unitsofmeasure.org","code":"Hz"}`,
		`{"value":7.4,"system":"http://unitsofmeasure.org","code":"[pH]"}`, `{"value":-5,"system":"http://unitsofmeasure.org","code":"Cel"}`, `{"value":0,"system":"http://unitsofmeasure.org","code":"g"}`,
		`{"value":72}`, `{"value":72.5,"unit":"bpm"}`, `{"value":72,"system":"urn:other","code":"g"}`, `{"value":1e30,"code":"` + strings.Repeat("u", 200) + `"}`, `{"value":72,"system":"http://unitsofmeasure.org","code":"no unit"}`,
	},
	"component": {`{"code":<concept>,"valueQuantity":<quantity>}`, `{"code":<concept>,"valueCodeableConcept":<concept>}`, `{"code":<concept>,"valueString":"<text>"}`},
}
