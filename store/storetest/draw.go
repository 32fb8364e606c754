package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// drawParsed is a query, and its text.
func drawParsed(t *rapid.T) (search.Query, string) {
	text := drawQuery(t)
	of, raw, _ := strings.Cut(text, "?")
	pairs, err := search.Pairs(raw)
	if err != nil {
		t.Fatal(err)
	}
	q, _, err := search.R4().Parse(of, pairs, search.Options{Now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for i := range q.Where {
		if c := &q.Where[i]; c.Chain != nil {
			text += drawAmong(t, c)
		}
	}
	return q, text
}

// drawAmong is what a chain through canonical URLs becomes when it is resolved, and its text.
func drawAmong(t *rapid.T, c *search.Clause) string {
	c.Among, c.AmongURLs = map[fhir.Key]bool{}, map[search.Canonical]bool{}
	for _, text := range rapid.SliceOfN(rapid.SampledFrom(canonicals), 0, 3).Draw(t, "among") {
		if id, ok := strings.CutPrefix(text, "Measure/"); ok {
			c.Among[key("Measure", id)] = true
			continue
		}
		url, version, _ := strings.Cut(text, "|")
		c.Among[key("Measure", "of-"+version)] = true
		c.AmongURLs[search.Canonical{URL: url}] = true
		c.AmongURLs[search.Canonical{URL: url, Version: version}] = true
	}
	return fmt.Sprintf(" among %v and %v", c.Among, c.AmongURLs)
}

// The values that random resources and queries share, so that they meet.
var (
	ids      = []string{"a", "b", "B", "a-1", "a.1", "10", "9", "z"}
	patients = []string{"p1", "p2", "p10", "P1"}
	codes    = []string{`{"system":"http://loinc.org","code":"8867-4"}`, `{"system":"urn:iso:std:iso:11073:10101","code":"147842"}`,
		`{"system":"http://loinc.org","code":"85354-9"}`, `{"system":"urn:other","code":"8867-4"}`, `{"code":"8867-4"}`, `{"system":"http://loinc.org"}`, `{"system":"urn:x","code":"AbC"}`}
	subjects = []string{`{"reference":"Patient/p1"}`, `{"reference":"Patient/p2"}`, `{"reference":"Patient/p10"}`, `{"reference":"Patient/P1/_history/2"}`,
		`{"reference":"Group/p1"}`, `{"reference":"https://other.example/fhir/Patient/p1"}`, `{"reference":"urn:uuid:0d5fc6a4-6d5e-4b3e-9d2b-111111111111"}`,
		`{"type":"Patient","identifier":{"system":"urn:mrn","value":"p1"}}`, `{"reference":"Patient/p1","identifier":{"value":"p1"}}`, `{"display":"nobody"}`}
	effectives = []string{
		`"effectiveDateTime":"2026"`, `"effectiveDateTime":"2026-01"`, `"effectiveDateTime":"2026-01-02"`,
		`"effectiveDateTime":"2026-01-02T03:04:05Z"`, `"effectiveDateTime":"2026-01-02T03:04:05.123456789Z"`, `"effectiveDateTime":"2026-01-02T05:04:05+02:00"`,
		`"effectiveDateTime":"2026-01-01T23:30:00-01:00"`, `"effectiveInstant":"2026-01-02T03:04:05.5Z"`, `"effectiveInstant":"2026-01-02T03:04:05Z"`,
		`"effectivePeriod":{"start":"2026-01-01","end":"2026-01-03"}`, `"effectivePeriod":{"start":"2025-12-31T00:00:00Z","end":"2026-01-02T03:04:05Z"}`,
		`"effectivePeriod":{"start":"2026-01-02"}`, `"effectivePeriod":{"end":"2026-01-02"}`, `"effectivePeriod":{}`, `"effectivePeriod":{"start":"1900","end":"2500"}`,
		`"effectivePeriod":{"start":"2026-01-03","end":"2026-01-01"}`, `"effectiveDateTime":"2026-13-45"`, `"effectiveDateTime":"0002-01-01"`,
		`"effectiveTiming":{"event":["2026-01-02T03:00:00Z","2026-01-05T03:00:00Z"]}`,
	}
	values = []string{
		`"valueQuantity":{"value":72,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"}`,
		`"valueQuantity":{"value":72.50,"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"}`,
		`"valueQuantity":{"value":72,"system":"urn:other","code":"/min"}`, `"valueQuantity":{"value":-72,"unit":"/min"}`, `"valueQuantity":{"value":72}`,
		`"valueQuantity":{"value":72,"comparator":"<","system":"http://unitsofmeasure.org","code":"/min"}`,
		`"valueQuantity":{"value":72,"comparator":">=","system":"http://unitsofmeasure.org","code":"/min"}`,
		`"valueQuantity":{"value":1e30,"code":"/min"}`, `"valueQuantity":{"value":0.30000000000000004,"code":"/min"}`, `"valueQuantity":{"value":0.3,"code":"/min"}`,
		`"valueQuantity":{"unit":"/min"}`, `"valueString":"72"`,
		`"valueSampledData":{"origin":{"value":0,"system":"http://unitsofmeasure.org","code":"/min"},"period":10,"factor":0.5,"dimensions":1,"data":"100 E 150 U 144"}`,
		`"valueCodeableConcept":{"coding":[{"system":"urn:x","code":"abc"}]}`,
	}
	// Places around Greenwich, the date line and a pole, and what is no place.
	positions = []string{`{"latitude":51.48,"longitude":0}`, `{"latitude":51.48,"longitude":0.1}`, `{"latitude":0,"longitude":180}`, `{"latitude":0.0,"longitude":-179.9}`,
		`{"latitude":90,"longitude":7}`, `{"latitude":-89.99,"longitude":-100.5}`, `{"latitude":91,"longitude":0}`, `{"longitude":0}`, `{}`}
	nearTexts  = []string{"51.48|0", "51.48|0|5", "51.48|0|10|mi", "51.48|0.1|0|m", "0|180|0", "0|-180|12", "0|180||km", "90|-7|0.001", "-90|0|1|[mi_i]", "51|0|1e4", "0|0|20016"}
	canonicals = []string{"http://m.example/a", "http://m.example/a|1", "http://m.example/a|2", "http://m.example/b", "http://m.example/b|1", "Measure/a", "http://m.example/" + strings.Repeat("long", 60)}
	dates      = []string{"2026", "2026-01", "2026-01-02", "2026-01-02T03:04Z", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.5Z", "2026-01-01T23:30:00-01:00", "2025-12-31", "0002", "2499", "1900-01-01"}
	numbers    = []string{"72", "72.0", "72.5", "72.50", "70", "1e2", "-72", "0.3", "0.30000000000000004", "1000000000000000000000000000000", "50", "75"}
	prefixes   = []string{"", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"}
	tokenTexts = []string{"8867-4", "http://loinc.org|8867-4", "|8867-4", "http://loinc.org|", "urn:iso:std:iso:11073:10101|147842", "147842", "http://loinc.org|85354-9", "abc", "urn:x|ABC", "nothing", "urn:x|"}
)

var drawnTypes = []string{"Observation", "Observation", "Observation", "Observation", "Observation", "Observation", "Device", "Patient", "Location", "Measure", "MeasureReport"}

func drawKey(t *rapid.T) fhir.Key {
	of := rapid.SampledFrom(drawnTypes).Draw(t, "type")
	return key(of, rapid.SampledFrom(ids).Draw(t, "id"))
}

func drawChange(t *rapid.T) store.Change {
	k := drawKey(t)
	if rapid.IntRange(0, 7).Draw(t, "delete") == 0 {
		return store.Change{Key: k, Delete: true}
	}
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	list := func(name string, from []string) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(from), 0, 3).Draw(t, name), ",")
	}
	maybe := func(name string) bool { return rapid.IntRange(0, 3).Draw(t, name) > 0 }
	add(`"resourceType":"%s"`, k.Type)
	identifiers := list("identifiers", []string{`{"system":"urn:mrn","value":"1"}`, `{"system":"urn:MRN","value":"1"}`, `{"value":"1"}`, `{"system":"urn:mrn","value":"x\u0000y"}`, `{"value":"` + strings.Repeat("long", 50) + `"}`})
	if identifiers != "" {
		add(`"identifier":[%s]`, identifiers)
	}
	switch k.Type {
	case "Observation":
		add(`"status":"%s"`, rapid.SampledFrom([]string{"final", "preliminary"}).Draw(t, "status"))
		if maybe("code") {
			add(`"code":{"coding":[%s],"text":"x"}`, list("codes", codes))
		}
		if maybe("category") {
			add(`"category":[{"coding":[{"code":"vital-signs"}]},{"coding":[%s]}]`, list("categories", codes))
		}
		if maybe("subject") {
			add(`"subject":%s`, rapid.SampledFrom(subjects).Draw(t, "subject"))
		}
		if maybe("effective") {
			add(`%s`, rapid.SampledFrom(effectives).Draw(t, "effective"))
		}
		if maybe("value") {
			add(`%s`, rapid.SampledFrom(values).Draw(t, "value"))
		}
		if maybe("device") {
			add(`"device":{"reference":"%s/%s"}`, rapid.SampledFrom([]string{"Device", "DeviceMetric"}).Draw(t, "device type"), rapid.SampledFrom(ids).Draw(t, "device"))
		}
		if rapid.Bool().Draw(t, "components") {
			var components []string
			for range rapid.IntRange(1, 2).Draw(t, "component") {
				components = append(components, fmt.Sprintf(`{"code":{"coding":[%s]},%s}`, list("component codes", codes), rapid.SampledFrom(values).Draw(t, "component value")))
			}
			add(`"component":[%s]`, strings.Join(components, ","))
		}
	case "Device":
		if maybe("patient") {
			add(`"patient":%s`, rapid.SampledFrom(subjects).Draw(t, "patient"))
		}
		if maybe("type") {
			add(`"type":{"coding":[%s]}`, list("types", codes))
		}
	case "Patient":
		if maybe("birthdate") {
			add(`"birthDate":"%s"`, rapid.SampledFrom([]string{"1950", "1950-06", "1950-06-15", "2000-01-01"}).Draw(t, "birthdate"))
		}
		add(`"gender":"%s","active":%v`, rapid.SampledFrom([]string{"male", "female"}).Draw(t, "gender"), rapid.Bool().Draw(t, "active"))
	}
	if k.Type == "Location" && maybe("position") {
		add(`"position":%s`, rapid.SampledFrom(positions).Draw(t, "position"))
	}
	if k.Type == "Measure" {
		url, version, _ := strings.Cut(rapid.SampledFrom(canonicals).Draw(t, "url"), "|")
		add(`"status":"draft","url":"%s"`, url)
		if version != "" {
			add(`"version":"%s"`, version)
		}
	}
	if k.Type == "MeasureReport" && maybe("measure") {
		add(`"measure":"%s"`, rapid.SampledFrom(canonicals).Draw(t, "measure"))
	}
	_, _, compact, err := fhir.Parse([]byte("{" + strings.Join(parts, ",") + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return store.Change{Key: k, JSON: compact}
}

func drawQuery(t *rapid.T) string {
	of := rapid.SampledFrom(drawnTypes).Draw(t, "type")
	var pairs []string
	add := func(name, value string) {
		pairs = append(pairs, name+"="+strings.NewReplacer("|", "%7C", "+", "%2B", "\x00", "%00").Replace(value))
	}
	params := search.R4().Of(of)
	for range rapid.IntRange(0, 4).Draw(t, "clauses") {
		p := rapid.SampledFrom(params).Draw(t, "param")
		if of == "Location" && rapid.Bool().Draw(t, "near") {
			p, _ = search.R4().Lookup(of, "near")
		}
		if of == "Observation" && rapid.Bool().Draw(t, "common") {
			p, _ = search.R4().Lookup(of, rapid.SampledFrom([]string{"patient", "code", "date", "category", "subject"}).Draw(t, "common param"))
		}
		if rapid.IntRange(0, 11).Draw(t, "missing") == 0 && p.Name != "_id" && p.Name != "_lastUpdated" && p.Type != search.CompositeParam {
			add(p.Name+":missing", rapid.SampledFrom([]string{"true", "false"}).Draw(t, "is missing"))
			continue
		}
		name := p.Name
		if p.Type == search.TokenParam && p.Name != "_id" && rapid.IntRange(0, 5).Draw(t, "not") == 0 {
			name += ":not"
		}
		if p.Type == search.ReferenceParam {
			switch rapid.IntRange(0, 7).Draw(t, "modifier") {
			case 0:
				name += ":identifier"
			case 1:
				name += ":" + rapid.SampledFrom([]string{"Patient", "Device"}).Draw(t, "of type")
				if !slices.Contains(p.Targets, name[len(p.Name)+1:]) {
					name = p.Name
				}
			}
		}
		var alternatives []string
		for range rapid.IntRange(1, 3).Draw(t, "alternatives") {
			alternatives = append(alternatives, drawValue(t, p, name))
		}
		add(name, strings.Join(alternatives, ","))
	}
	if of == "MeasureReport" && rapid.Bool().Draw(t, "chain") {
		add("measure.title", "x") // whatever it leads to, see drawAmong
	}
	var sort []string
	for _, by := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"date", "_lastUpdated", "_id", "code", "value-quantity"}), 0, 3, rapid.ID).Draw(t, "sort") {
		if by[0] != '_' && of != "Observation" {
			continue
		}
		if rapid.Bool().Draw(t, "descending") {
			by = "-" + by
		}
		sort = append(sort, by)
	}
	if len(sort) > 0 {
		add("_sort", strings.Join(sort, ","))
	}
	add("_count", strconv.Itoa(rapid.IntRange(1, 5).Draw(t, "count")))
	return of + "?" + strings.Join(pairs, "&")
}

func drawValue(t *rapid.T, p search.Param, name string) string {
	prefix := func() string { return rapid.SampledFrom(prefixes).Draw(t, "prefix") }
	switch {
	case p.Name == "_id":
		return rapid.SampledFrom(ids).Draw(t, "id")
	case p.Name == "_lastUpdated":
		return prefix() + rapid.SampledFrom([]string{"2020", "2100-01-01", time.Now().UTC().Format("2006-01-02")}).Draw(t, "updated")
	case p.Name == "identifier", strings.HasSuffix(name, ":identifier"):
		return rapid.SampledFrom([]string{"1", "urn:mrn|1", "|1", "urn:MRN|1", "urn:mrn|", "x\x00y", strings.Repeat("long", 50), "p1", "urn:mrn|p1"}).Draw(t, "identifier")
	case p.Name == "measure" && !strings.Contains(name, ":"):
		return rapid.SampledFrom(canonicals).Draw(t, "measure")
	case p.Name == "active", p.Name == "deceased":
		return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "boolean")
	case p.Name == "status", p.Name == "gender":
		return rapid.SampledFrom([]string{"final", "preliminary", "male", "female", "|final"}).Draw(t, "code")
	case p.Name == "category":
		return rapid.SampledFrom(append([]string{"vital-signs", "|vital-signs"}, tokenTexts...)).Draw(t, "category")
	case p.Type == search.CompositeParam:
		var parts []string
		for _, c := range p.Components {
			parts = append(parts, drawValue(t, c, c.Name))
		}
		return strings.Join(parts, "$")
	case p.Type == search.SpecialParam:
		return rapid.SampledFrom(nearTexts).Draw(t, "near")
	case p.Type == search.StringParam:
		return rapid.SampledFrom([]string{"7", "72", "x", "nothing"}).Draw(t, "string")
	case p.Type == search.URIParam:
		return rapid.SampledFrom([]string{"urn:x", "http://a.example/p"}).Draw(t, "uri")
	case p.Type == search.TokenParam:
		return rapid.SampledFrom(tokenTexts).Draw(t, "token")
	case p.Type == search.ReferenceParam:
		id := rapid.SampledFrom(append(patients, ids...)).Draw(t, "reference")
		if strings.Contains(name, ":") {
			return id
		}
		return rapid.SampledFrom([]string{id, p.Targets[0] + "/" + id, p.Targets[len(p.Targets)-1] + "/" + id,
			"https://other.example/fhir/Patient/p1", "urn:uuid:0d5fc6a4-6d5e-4b3e-9d2b-111111111111"}).Draw(t, "form")
	case p.Type == search.DateParam:
		return prefix() + rapid.SampledFrom(append([]string{"1950", "1950-06-15"}, dates...)).Draw(t, "date")
	default:
		unit := rapid.SampledFrom([]string{"", "", "|http://unitsofmeasure.org|/min", "||/min", "|http://unitsofmeasure.org|"}).Draw(t, "unit")
		return prefix() + rapid.SampledFrom(numbers).Draw(t, "number") + unit
	}
}
