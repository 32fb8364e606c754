package rest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/rest"
)

// reading is an Observation of a patient; codes are codes of LOINC, or 'text'.
func reading(id, patient, effective string, codes ...string) string {
	var codings []string
	text := ""
	for _, c := range codes {
		if t, ok := strings.CutPrefix(c, "'"); ok {
			text = `"text":"` + strings.TrimSuffix(t, "'") + `"`
			continue
		}
		codings = append(codings, fmt.Sprintf(`{"system":"http://loinc.org","code":%q}`, c))
	}
	code := text
	if codings != nil {
		code = `"coding":[` + strings.Join(codings, ",") + `]`
		if text != "" {
			code += "," + text
		}
	}
	if effective != "" {
		effective = `"effectiveDateTime":"` + effective + `",`
	}
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],`+
		`"code":{%s},%s"subject":{"reference":"Patient/%s"}}`, id, code, effective, patient)
}

func (a *api) put(t testing.TB, resource string) {
	t.Helper()
	var r struct{ ResourceType, ID string }
	answer{body: []byte(resource)}.decode(t, &r)
	if got := a.send(t, "PUT", "/fhir/"+r.ResourceType+"/"+r.ID, resource, "Prefer: return=minimal"); got.StatusCode > 201 {
		t.Fatalf("%s/%s: %d %s", r.ResourceType, r.ID, got.StatusCode, got.body)
	}
}

func TestLastNGroupsByCode(t *testing.T) {
	for _, c := range []struct {
		name  string
		codes [3]string // of three Observations, the last one the newest; a bar is between codings
		want  string
	}{
		{"three codes are three groups", [3]string{"a", "b", "c"}, "o2 o1 o0"},
		{"one code is one", [3]string{"a", "a", "a"}, "o2"},
		{"codings of one concept are one code", [3]string{"a", "b", "a|c"}, "o2 o1"},
		{"and so are those that it links", [3]string{"a", "b", "a|b"}, "o2"},
		{"whichever of them is the oldest", [3]string{"a|b", "a", "b"}, "o2"},
		{"or between the others", [3]string{"a", "a|b", "b"}, "o2"},
		{"a chain of links is followed", [3]string{"a|b", "b|c", "c|d"}, "o2"},
		{"texts are compared as they are", [3]string{"'textM'", "'Text'", "'t e x t'"}, "o2 o1 o0"},
		{"equal texts are one", [3]string{"'Text'", "a", "'Text'"}, "o2 o1"},
		{"the text of a code does not count", [3]string{"a|'Text'", "b|'Text'", "'Text'"}, "o2 o1 o0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, rest.Options{})
			for i, codes := range c.codes {
				a.put(t, reading(fmt.Sprint("o", i), "p", fmt.Sprintf("2024-05-01T1%d:00:00Z", i), strings.Split(codes, "|")...))
			}
			got := a.do(t, "GET", "/fhir/Observation/$lastn?patient=p&category=vital-signs", "").bundle(t)
			if ids := strings.Join(got.ids(t), " "); ids != c.want || *got.Total != len(got.Entry) || got.Type != "searchset" {
				t.Errorf("got %s, want %s", ids, c.want)
			}
		})
	}
}

func TestLastNRules(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for _, r := range []string{
		reading("h1", "p", "2024-05-01T10:00:00Z", "8867-4"),
		reading("h2", "p", "2024-05-01T11:00:00Z", "8867-4"),
		reading("h3", "p", "2024-05-01T12:00:00+01:00", "8867-4"), // the time of h2
		reading("h4", "p", "2024-05-01T12:00:00Z", "8867-4"),
		strings.Replace(reading("wrong", "p", "2024-05-02", "8867-4"), "final", "entered-in-error", 1),
		reading("undated", "p", "", "9279-1"),
		reading("undated2", "p", "", "9279-1"),
		reading("w1", "p", "2023", "29463-7"),
		reading("other", "q", "2024-06-01", "8867-4"),
		`{"resourceType":"Patient","id":"p","identifier":[{"system":"http://h.example/mrn","value":"1"}]}`,
	} {
		a.put(t, r)
	}
	const about, one = "patient=p&category=vital-signs", "patient=p&code=http://loinc.org|8867-4"
	for _, c := range []struct{ name, query, want string }{
		{"the newest of each code, newest first", about, "wrong w1 undated undated2"},
		{"what is entered in error is left out if the status says so", about + "&status=final", "h4 w1 undated undated2"},
		{"the last two", one + "&status=final&max=2", "h4 h2 h3"},
		{"a tie behind the cut brings all of it", one + "&status=final&max=3", "h4 h2 h3"},
		{"more than there are", one + "&status=final&max=2147483647", "h4 h2 h3 h1"},
		{"a date", one + "&date=lt2024-05-01T12:00:00Z", "h2 h3"},
		{"a list of codes", "patient=p&code=8867-4,29463-7&status=final", "h4 w1"},
		{"the subject", "subject=Patient/q&code=8867-4", "other"},
		{"a chain", "subject:Patient.identifier=http://h.example/mrn|1&code=29463-7", "w1"},
		{"a modifier", "patient=p&code:not=8867-4", "w1 undated undated2"},
		{"another parameter about codes", "patient=p&combo-code=29463-7", "w1"},
		{"no match is no error", "patient=nobody&code=8867-4", ""},
		{"the total alone", about + "&_summary=count", ""},
		{"an unknown parameter is ignored", "patient=q&code=8867-4&nonsense=1", "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			query := strings.NewReplacer("|", "%7C", "+", "%2B").Replace(c.query)
			got := a.do(t, "GET", "/fhir/Observation/$lastn?"+query, "").bundle(t)
			if ids := strings.Join(got.ids(t), " "); ids != c.want {
				t.Errorf("got %q, want %q", ids, c.want)
			}
			again := a.do(t, "GET", strings.TrimPrefix(got.link("self"), "http://example.com"), "").bundle(t)
			if fmt.Sprint(again.ids(t), *again.Total) != fmt.Sprint(got.ids(t), *got.Total) {
				t.Errorf("the self link %s gives %v", got.link("self"), again.ids(t))
			}
			posted := a.do(t, "POST", "/fhir/Observation/$lastn", query, "Content-Type: ", form).bundle(t)
			if fmt.Sprint(posted.ids(t)) != fmt.Sprint(got.ids(t)) {
				t.Errorf("as a form: %v", posted.ids(t))
			}
		})
	}
	parameters := `{"resourceType":"Parameters","parameter":[{"name":"patient","valueString":"p"},{"name":"code","valueString":"http://loinc.org|8867-4"},{"name":"max","valuePositiveInt":4},{"name":"status","valueCode":"final"}]}`
	if got := a.do(t, "POST", "/fhir/Observation/$lastn", parameters).bundle(t).ids(t); fmt.Sprint(got) != "[h4 h2 h3 h1]" {
		t.Errorf("Parameters: %v", got)
	}
	if got := a.do(t, "GET", "/fhir/Observation/$lastn?"+about+"&_elements=status", "").bundle(t); strings.Contains(string(got.Entry[0].Resource), "effective") {
		t.Errorf("_elements: %s", got.Entry[0].Resource)
	}
}

func TestLastNRefusals(t *testing.T) {
	a := newAPI(t, rest.Options{})
	const secret = "Jane-Doe-1970"
	for _, c := range []struct {
		name, query string
		status      int
		says        string
	}{
		{"no subject", "code=8867-4", 400, "patient"},
		{"a subject that is missing is none", "subject:missing=true&code=8867-4", 400, "patient"},
		{"no code", "patient=" + secret, 400, "category"},
		{"a value is not about codes", "patient=" + secret + "&value-quantity=5", 400, "category"},
		{"max of 0", "patient=p&code=1&max=0", 400, "max"},
		{"max that is no number", "patient=p&code=1&max=" + secret, 400, "max"},
		{"max twice", "patient=p&code=1&max=1&max=2", 400, "max"},
		{"another order", "patient=p&code=1&_sort=date", 400, "_sort"},
		{"a page size", "patient=p&code=1&_count=5", 400, "max"},
		{"_include", "patient=p&code=1&_include=Observation:device", 400, "_include"},
		{"a modifier that is none", "patient=p&code:like=" + secret, 400, "modifier"},
		{"another type", "", 404, "$validate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := "/fhir/Observation/$lastn?" + c.query
			if c.status == 404 {
				url = "/fhir/Patient/$lastn"
			}
			got := a.do(t, "GET", url, "").wantStatus(t, c.status)
			if !strings.Contains(string(got.body), c.says) || strings.Contains(string(got.body), secret) {
				t.Errorf("%s", got.body)
			}
		})
	}
	a.do(t, "DELETE", "/fhir/Observation/$lastn", "").wantStatus(t, 405)
	a.do(t, "POST", "/fhir/Observation/$lastn", patient).wantStatus(t, 400)
	a.do(t, "GET", "/fhir/Observation/$lastn?patient=p&code=1&nonsense=1", "", "Prefer: handling=strict").wantStatus(t, 400)
}

// The answer is that of a plain model: components of a graph of codes, each sorted.
func TestLastNAgreesWithANaiveModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := newAPI(t, rest.Options{Validation: rest.ValidateNothing})
		type observation struct {
			id    string
			hour  int
			codes []string
		}
		var all []observation
		for i := range rapid.IntRange(1, 25).Draw(rt, "n") {
			codes := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), 1, 2, rapid.ID[string]).Draw(rt, "codes")
			o := observation{fmt.Sprintf("o%02d", i), rapid.IntRange(0, 9).Draw(rt, "hour"), codes}
			all = append(all, o)
			a.put(t, reading(o.id, "p", noon.Add(time.Duration(o.hour)*time.Hour).Format(time.RFC3339), codes...))
		}
		most := rapid.IntRange(1, 4).Draw(rt, "max")

		group := map[string]string{}
		for _, c := range "abcdef" {
			group[string(c)] = string(c)
		}
		for range all { // until nothing changes any more
			for _, o := range all {
				for _, c := range o.codes {
					low := min(group[o.codes[0]], group[c])
					group[o.codes[0]], group[c] = low, low
				}
			}
		}
		slices.SortFunc(all, func(x, y observation) int {
			if x.hour != y.hour {
				return y.hour - x.hour
			}
			return strings.Compare(x.id, y.id)
		})
		hours := map[string][]int{}
		var want []string
		for _, o := range all {
			g := group[o.codes[0]]
			if h := hours[g]; len(h) < most || h[most-1] == o.hour {
				want = append(want, o.id)
			}
			hours[g] = append(hours[g], o.hour)
		}
		got := a.do(t, "GET", fmt.Sprintf("/fhir/Observation/$lastn?patient=p&code=a,b,c,d,e,f&max=%d", most), "").bundle(t).ids(t)
		if !slices.Equal(got, want) {
			rt.Fatalf("got %v, want %v of %v", got, want, all)
		}
	})
}
