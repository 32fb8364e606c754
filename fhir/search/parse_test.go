package search

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kiln-health/kiln/fhir"
)

func TestParseReadsEachFormOfAValue(t *testing.T) {
	second := time.Date(2024, 5, 11, 14, 32, 15, 0, time.UTC)
	for _, c := range []struct {
		name, resourceType, query string
		modifier                  string
		want                      []Value
	}{
		// http://hl7.org/fhir/R4/search.html#token
		{"a bare code is of any system", "Observation", `code=8867-4`, "", []Value{{Code: "8867-4", AnySystem: true}}},
		{"system and code", "Observation", `code=http://loinc.org|8867-4`, "", []Value{{System: "http://loinc.org", Code: "8867-4"}}},
		{"a code without a system", "Observation", `code=|8867-4`, "", []Value{{Code: "8867-4"}}},
		{"a system with any code", "Observation", `code=http://loinc.org|`, "", []Value{{System: "http://loinc.org", AnyCode: true}}},
		{"codes compare without case", "Observation", `code=HR`, "", []Value{{Code: "hr", AnySystem: true}}},
		{"systems compare with case", "Observation", `code=HTTP://X|HR`, "", []Value{{System: "HTTP://X", Code: "hr"}}},
		{"identifiers compare with case", "Patient", `identifier=s|aB`, "", []Value{{System: "s", Code: "aB"}}},
		{"alternatives", "Observation", `code=a,s|b`, "", []Value{{Code: "a", AnySystem: true}, {System: "s", Code: "b"}}},
		{"empty alternatives are left away", "Observation", `code=,a,,b,`, "", []Value{{Code: "a", AnySystem: true}, {Code: "b", AnySystem: true}}},
		{"the system of a code element is implicit", "Patient", `gender=http://hl7.org/fhir/administrative-gender|male`, "", []Value{{Code: "male"}}},
		{"all of the implicit system", "Patient", `gender=http://hl7.org/fhir/administrative-gender|`, "", []Value{{AnyCode: true}}},
		{"another system is another system", "Patient", `gender=http://x|male`, "", []Value{{System: "http://x", Code: "male"}}},
		{"a boolean", "Patient", `active=true`, "", []Value{{Code: "true", AnySystem: true}}},
		{"an id", "Patient", `_id=a-1,B.2`, "", []Value{{Code: "a-1", AnySystem: true}, {Code: "B.2", AnySystem: true}}},
		{"prefixes are for ordered values only", "Observation", `code=ge5`, "", []Value{{Code: "ge5", AnySystem: true}}},
		// http://hl7.org/fhir/R4/search.html#escaping
		{"an escaped comma", "Observation", `code=a\,b`, "", []Value{{Code: "a,b", AnySystem: true}}},
		{"an escaped bar", "Observation", `code=a\|b`, "", []Value{{Code: "a|b", AnySystem: true}}},
		{"an escaped bar behind a real one", "Observation", `code=s|a\|b`, "", []Value{{System: "s", Code: "a|b"}}},
		{"an escaped dollar", "Observation", `code=a\$b`, "", []Value{{Code: "a$b", AnySystem: true}}},
		{"an escaped backslash before a comma", "Observation", `code=a\\,b`, "", []Value{{Code: `a\`, AnySystem: true}, {Code: "b", AnySystem: true}}},
		{"a percent-encoded comma separates as well", "Observation", `code=a%2Cb`, "", []Value{{Code: "a", AnySystem: true}, {Code: "b", AnySystem: true}}},
		// http://hl7.org/fhir/R4/search.html#reference
		{"a bare id where one type is possible", "Observation", `patient=abc`, "", []Value{{RefType: "Patient", RefID: "abc"}}},
		{"a bare id where several types are possible", "Observation", `subject=abc`, "", []Value{{RefID: "abc"}}},
		{"type and id", "Observation", `subject=Device/abc`, "", []Value{{RefType: "Device", RefID: "abc"}}},
		{"a type that cannot be meant finds nothing and is no error", "Observation", `patient=Device/abc`, "", []Value{{RefType: "Device", RefID: "abc"}}},
		{"an absolute URL of this server", "Observation", `patient=` + base + `/Patient/abc`, "", []Value{{RefType: "Patient", RefID: "abc"}}},
		{"http or https makes no difference", "Observation", `patient=http://kiln.example/fhir/Patient/abc`, "", []Value{{RefType: "Patient", RefID: "abc"}}},
		{"an absolute URL of another server", "Observation", `patient=https://kiln.example/other/Patient/abc`, "", []Value{{URL: "https://kiln.example/other/Patient/abc"}}},
		{"a URN", "Observation", `subject=urn:uuid:1`, "", []Value{{URL: "urn:uuid:1"}}},
		{"a type as the modifier", "Observation", `subject:Patient=23`, "Patient", []Value{{RefType: "Patient", RefID: "23"}}},
		{"a type as the modifier and again", "Observation", `subject:Patient=Patient/23`, "Patient", []Value{{RefType: "Patient", RefID: "23"}}},
		{"the identifier of a reference", "Observation", `subject:identifier=s|aB`, "identifier", []Value{{System: "s", Code: "aB"}}},
		// http://hl7.org/fhir/R4/search.html#modifiers
		{"missing", "Observation", `code:missing=true`, "missing", []Value{{Missing: true}}},
		{"not missing", "Observation", `value-quantity:missing=false`, "missing", []Value{{}}},
		{"not", "Patient", `gender:not=male,female`, "not", []Value{{Code: "male", AnySystem: true}, {Code: "female", AnySystem: true}}},
		// http://hl7.org/fhir/R4/search.html#date
		{"a date", "Observation", `date=2024-05`, "", []Value{{Prefix: EQ, From: day(2024, 5, 1), To: day(2024, 6, 1)}}},
		{"a date with a prefix", "Observation", `date=sa2024-05`, "", []Value{{Prefix: SA, From: day(2024, 5, 1), To: day(2024, 6, 1)}}},
		{"a time with an encoded plus", "Observation", `date=2024-05-11T16:32:15%2B02:00`, "", []Value{{Prefix: EQ, From: second, To: second.Add(time.Second)}}},
		{"a time with a plus that became a blank", "Observation", `date=ge2024-05-11T16:32:15+02:00`, "", []Value{{Prefix: GE, From: second, To: second.Add(time.Second)}}},
		{"a time with escaped colons", "Observation", `date=2024-05-11T14%3A32%3A15Z`, "", []Value{{Prefix: EQ, From: second, To: second.Add(time.Second)}}},
		{"a time without seconds", "Observation", `date=2024-05-11T14:32Z`, "", []Value{{Prefix: EQ, From: second.Add(-15 * time.Second), To: second.Add(45 * time.Second)}}},
		{"around a date is a tenth of the time since", "Observation", `date=ap2024-05-22`, "",
			[]Value{{Prefix: AP, From: time.Date(2024, 5, 21, 1, 12, 0, 0, time.UTC), To: time.Date(2024, 5, 23, 22, 48, 0, 0, time.UTC)}}},
		{"around now is the date itself", "Observation", `date=ap2024-06-01`, "", []Value{{Prefix: AP, From: day(2024, 6, 1), To: day(2024, 6, 2)}}},
		{"around a date long ago is more than a Duration holds", "Observation", `date=ap0024-01-01`, "",
			[]Value{{Prefix: AP, From: time.Date(-177, 12, 17, 8, 24, 0, 0, time.UTC), To: time.Date(224, 1, 17, 15, 36, 0, 0, time.UTC)}}},
		// http://hl7.org/fhir/R4/search.html#quantity
		{"a number", "Observation", `value-quantity=5.4`, "", []Value{{Prefix: EQ, AnySystem: true, AnyCode: true, Number: exactly("5.4"), Low: exactly("5.35"), High: exactly("5.45")}}},
		{"a number with bars and nothing else", "Observation", `value-quantity=5.4||`, "", []Value{{Prefix: EQ, AnySystem: true, AnyCode: true, Number: exactly("5.4"), Low: exactly("5.35"), High: exactly("5.45")}}},
		{"a number with system and code", "Observation", `value-quantity=lt5|http://unitsofmeasure.org|mg`, "",
			[]Value{{Prefix: LT, System: "http://unitsofmeasure.org", Code: "mg", Number: exactly("5"), Low: exactly("4.5"), High: exactly("5.5")}}},
		{"units compare with case", "Observation", `value-quantity=5||Mg`, "", []Value{{Prefix: EQ, AnySystem: true, Code: "Mg", Number: exactly("5"), Low: exactly("4.5"), High: exactly("5.5")}}},
		{"a number with a system", "Observation", `value-quantity=5|s`, "", []Value{{Prefix: EQ, System: "s", AnyCode: true, Number: exactly("5"), Low: exactly("4.5"), High: exactly("5.5")}}},
		{"a number with a system and a bar", "Observation", `value-quantity=5|s|`, "", []Value{{Prefix: EQ, System: "s", AnyCode: true, Number: exactly("5"), Low: exactly("4.5"), High: exactly("5.5")}}},
		{"a negative number in e-notation", "Observation", `value-quantity=ge-5e1`, "", []Value{{Prefix: GE, AnySystem: true, AnyCode: true, Number: exactly("-50"), Low: exactly("-55"), High: exactly("-45")}}},
		{"around a number is a tenth of it", "Observation", `value-quantity=ap-100`, "", []Value{{Prefix: AP, AnySystem: true, AnyCode: true, Number: exactly("-100"), Low: exactly("-110"), High: exactly("-90")}}},
		{"around a number is never less than its precision", "Observation", `value-quantity=ap2`, "", []Value{{Prefix: AP, AnySystem: true, AnyCode: true, Number: exactly("2"), Low: exactly("1.5"), High: exactly("2.5")}}},
	} {
		q, issues, err := tryParse(c.resourceType, c.query, Strict)
		if err != nil || len(issues) > 0 {
			t.Errorf("%s: %v %v", c.name, err, issues)
			continue
		}
		if len(q.Where) != 1 || q.Where[0].Modifier != c.modifier {
			t.Errorf("%s: %+v", c.name, q.Where)
			continue
		}
		got := q.Where[0].Values
		for i := range got {
			got[i].Text = ""
		}
		if diff := gocmp.Diff(c.want, got, decimals); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestParseRefusesWhatItCannotAnswerRightly(t *testing.T) {
	for _, c := range []struct{ name, resourceType, query, want string }{
		{"a type that is not searched", "Encounter", "_id=1", "resources of this type cannot be searched; fix: search for one of Device, Observation, Patient"},
		{"a modifier that tokens do not have here", "Observation", "code:text=x", "code: code has no such modifier; fix: use code without a modifier or with one of :missing, :not"},
		{"a modifier that nothing has", "Observation", "code:=x", "code: code has no such modifier"},
		{"a modifier, also without a value", "Observation", "code:above=", "code: code has no such modifier"},
		{"not on a date", "Observation", "date:not=2024", "date: date has no such modifier; fix: use date without a modifier or with one of :missing"},
		{"not on a reference", "Observation", "subject:not=Patient/1", "subject: subject has no such modifier; fix: use subject without a modifier or with one of :missing, :identifier, :Device, :Group, :Location, :Patient"},
		{"a type that the reference cannot have", "Observation", "subject:Practitioner=1", "subject: subject has no such modifier"},
		{"a type against its modifier", "Observation", "subject:Patient=Device/1", "subject: a value of subject is of another type than its modifier says; fix: send an id, Type/id or an absolute URL"},
		{"another server with a type as the modifier", "Observation", "subject:Patient=http://x.example/Patient/1", "subject: a value of subject is of another server, where a type as the modifier says nothing"},
		{"a chain", "Observation", "patient.identifier=s|1", "patient.identifier: chained searches are not supported; fix: search for the other resource first, then by its id"},
		{"a chain with a type", "Observation", "subject:Patient.identifier=s|1", "subject:Patient.identifier: chained searches are not supported"},
		{"a reverse chain", "Patient", "_has:Observation:patient:code=1", "_has:Observation:patient:code: chained searches are not supported"},
		{"a named query", "Patient", "_query=x", "_query: named queries are not supported"},
		{"missing with something else than true and false", "Patient", "gender:missing=yes", "gender: a value of gender with :missing is neither true nor false; fix: send true or false"},
		{"missing twice", "Patient", "gender:missing=true,false", "gender: :missing takes one value; fix: send true or false"},
		{"three parts in a token", "Observation", "code=a|b|c", `code: a value of code is no token; fix: send code, system|code, |code or system|, with \| for a bar within one of them`},
		{"a bar alone", "Observation", "code=|", "code: a value of code is no token"},
		{"a backslash before a letter", "Observation", `code=a\b`, `code: a value of code has a backslash before something else than , $ | or a backslash; fix: write a backslash as \\`},
		{"a backslash at the end", "Observation", `code=a\`, `code: a value of code has a backslash before something else`},
		{"an id with its type", "Patient", "_id=Patient/1", "_id: a value of _id is no resource id; fix: send the id alone, without the type: 1 to 64 letters, digits, - and ."},
		{"an id with a system", "Patient", "_id=s|1", "_id: a value of _id is no resource id"},
		{"a boolean that is none", "Patient", "active=yes", "active: a value of active is neither true nor false; fix: send true or false"},
		{"a bar in a boolean", "Patient", "active=|true", "active: a value of active is neither true nor false"},
		{"a reference with a version", "Observation", "subject=Patient/1/_history/2", "subject: a value of subject names a version, which cannot be searched for; fix: send an id, Type/id or an absolute URL"},
		{"a contained resource", "Observation", "subject=%23p", "subject: a value of subject is no reference"},
		{"a search as a reference", "Observation", "subject=Patient?identifier=1", "subject: a value of subject is no reference"},
		{"no date", "Observation", "date=tomorrow", "date: a value of date is no date; fix: send YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm[:ss[.fff]] with Z or ±hh:mm (+ is %2B in a URL), and before it eq, ne, gt, lt, ge, le, sa, eb, ap or nothing"},
		{"a prefix that is none", "Observation", "date=xx2024", "date: a value of date is no date"},
		{"a prefix in capitals", "Observation", "date=GE2024", "date: a value of date is no date"},
		{"a prefix without a date", "Observation", "date=ge", "date: a value of date is no date"},
		{"a blank where no zone is", "Observation", "date=2024-05-11+16:32", "date: a value of date is no date"},
		{"no quantity", "Observation", "value-quantity=high", "value-quantity: a value of value-quantity is no quantity; fix: send a number alone, number||unit or number|system|code"},
		{"four parts in a quantity", "Observation", "value-quantity=1|2|3|4", "value-quantity: a value of value-quantity is no quantity"},
		{"a number that fills memory", "Observation", "value-quantity=1e999999", "value-quantity: a value of value-quantity is no quantity"},
		{"sorting by what cannot be sorted by", "Observation", "_sort=code", "_sort: Observation cannot be sorted by this; fix: sort by _id, _lastUpdated, date, with - in front for descending order"},
		{"sorting by what another type has", "Patient", "_sort=date", "_sort: Patient cannot be sorted by this; fix: sort by _id, _lastUpdated, with"},
		{"a count that is no number", "Patient", "_count=ten", "_count: _count is no number; fix: send digits only"},
		{"a negative count", "Patient", "_count=-1", "_count: _count is no number"},
		{"two counts", "Patient", "_count=1&_count=2", "_count: _count is given twice; fix: send it once"},
		{"a total that is none", "Patient", "_total=yes", "_total: _total has no such value; fix: send none, estimate or accurate"},
		{"a summary that is not supported", "Patient", "_summary=text", "_summary: this _summary is not supported; fix: send count or false"},
		{"a value over the limit", "Observation", "code=" + strings.Repeat("x", MaxValueLength+1), "code: a value of code has more than 1024 bytes"},
		{"too many alternatives", "Observation", "code=" + strings.Repeat("x,", MaxValues+1), "code: code has more than 200 alternatives; fix: search in several steps"},
		{"too many conditions", "Observation", strings.Repeat("code=x&", MaxClauses+1), "the query has more than 50 conditions; fix: join alternatives of one parameter with commas"},
		{"too many parameters", "Observation", strings.Repeat("x=x&", maxPairs+1), "the query has more than 100 parameters"},
		{"a percent sign that encodes nothing", "Observation", "_id=1&code=5%", "parameter 2 of the query is not percent-encoded correctly; fix: write a percent sign as %25"},
		{"a cursor that is none", "Observation", "_cursor=xyz", "_cursor: the cursor is not one of this server; fix: follow the links of the first page without changing them"},
	} {
		q, issues, err := tryParse(c.resourceType, c.query, Lenient)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
			continue
		}
		if _, ok := errors.AsType[*fhir.Error](err); !ok || issues != nil || !gocmp.Equal(q, Query{}) {
			t.Errorf("%s: not an *fhir.Error alone", c.name)
		}
	}
}

func TestAllThatIsWrongIsToldAtOnce(t *testing.T) {
	_, _, err := tryParse("Observation", "date=x&code:above=1&_sort=code&nonsense=1", Strict)
	if got := len(fhir.IssuesOf(err)); got != 4 {
		t.Errorf("%d issues, want 4: %v", got, fhir.IssuesOf(err))
	}
}

// http://hl7.org/fhir/R4/search.html#errors
func TestUnknownParametersAreIgnoredOrErrors(t *testing.T) {
	q, issues, err := tryParse("Patient", "gender=male&colour=blue", Lenient)
	if err != nil || len(q.Where) != 1 || q.Encode() != "gender=male&_count=50" {
		t.Errorf("lenient: %+v %v", q, err)
	}
	want := []fhir.Issue{{Severity: fhir.Warning, Code: fhir.CodeNotSupported, Path: "colour", Message: "Patient has no search parameter of this name: it was ignored",
		Fix: "use one of _id, _lastUpdated, active, birthdate, gender, identifier", Spec: "http://hl7.org/fhir/R4/search.html#errors"}}
	if diff := gocmp.Diff(want, issues); diff != "" {
		t.Errorf("lenient (-want +got):\n%s", diff)
	}
	if _, _, err := tryParse("Patient", "gender=male&colour=blue", Strict); err == nil || !strings.HasPrefix(err.Error(), "colour: Patient has no search parameter of this name; fix: use one of") {
		t.Errorf("strict: %v", err)
	}
	if _, _, err := tryParse("Patient", "_format=json&_pretty=true", Strict); err != nil {
		t.Errorf("what REST handles is not unknown: %v", err)
	}
	if _, issues, _ := tryParse("Observation", "_elements=code", Lenient); len(issues) != 1 {
		t.Errorf("_elements: %v", issues)
	}
}

func TestParametersWithoutAValueAreIgnored(t *testing.T) {
	q, issues, err := tryParse("Observation", "code=&date&_sort=&_count=&_total=&_summary=&code=,&_id=&&_cursor=", Strict)
	if err != nil || len(issues) > 0 || len(q.Where) > 0 || q.Encode() != "_count=50" {
		t.Errorf("%+v %v %v", q, issues, err)
	}
}

func TestNoErrorRepeatsAValue(t *testing.T) {
	const secret = "Zebulon"
	names := []string{"nonsense", "_sort", "_count", "_total", "_summary", "_query", "_has:x:y:z", "patient.name", CursorParam}
	for _, p := range Params("Observation") {
		for _, modifier := range []string{"", ":missing", ":not", ":identifier", ":Patient", ":text"} {
			names = append(names, p.Name+modifier)
		}
	}
	refused := 0
	for _, name := range names {
		for _, value := range []string{secret, secret + "|x|y", "Patient/" + secret + "/_history/1", `\` + secret, strings.Repeat(secret, 200)} {
			_, issues, err := Parse("Observation", []Pair{{name, value}}, Options{Handling: Strict})
			if err != nil {
				refused++
				issues = fhir.IssuesOf(err)
			}
			if strings.Contains(fmt.Sprint(issues), secret) {
				t.Errorf("%s: %v", name, issues)
			}
		}
	}
	if refused < 200 {
		t.Errorf("only %d errors were looked at", refused)
	}
	if got := shown("John Smith"); got != "" {
		t.Errorf("what is no name of a parameter is shown: %s", got)
	}
}

// http://hl7.org/fhir/R4/search.html#sort, #count, #total, #summary
func TestResultParameters(t *testing.T) {
	id := Sort{Param: "_id"}
	for _, c := range []struct {
		name, query string
		sort        []Sort
		count       int
		total       Total
		encoded     string
	}{
		{"none", "", []Sort{id}, 50, TotalNone, "_count=50"},
		{"by date", "_sort=date", []Sort{{"date", false}, id}, 50, TotalNone, "_sort=date&_count=50"},
		{"newest first", "_sort=-date", []Sort{{"date", true}, id}, 50, TotalNone, "_sort=-date&_count=50"},
		{"several keys", "_sort=-date,_lastUpdated,-_id", []Sort{{"date", true}, {"_lastUpdated", false}, {"_id", true}}, 50, TotalNone, "_sort=-date%2C_lastUpdated%2C-_id&_count=50"},
		{"keys in several parameters", "_sort=-date&_sort=_lastUpdated", []Sort{{"date", true}, {"_lastUpdated", false}, id}, 50, TotalNone, "_sort=-date%2C_lastUpdated&_count=50"},
		{"a key that comes again", "_sort=date,-date", []Sort{{"date", false}, id}, 50, TotalNone, "_sort=date&_count=50"},
		{"nothing can follow the id", "_sort=_id,date", []Sort{id}, 50, TotalNone, "_count=50"},
		{"a count", "_count=7", []Sort{id}, 7, TotalNone, "_count=7"},
		{"a count over the limit", "_count=1001", []Sort{id}, 1000, TotalNone, "_count=1000"},
		{"a count that no integer holds", "_count=99999999999999999999", []Sort{id}, 1000, TotalNone, "_count=1000"},
		{"no resources", "_count=0", []Sort{id}, 0, TotalAccurate, "_count=0"},
		{"no resources, whatever is said of the total", "_count=0&_total=none", []Sort{id}, 0, TotalAccurate, "_count=0"},
		{"the total alone", "_summary=count", []Sort{id}, 0, TotalAccurate, "_count=0"},
		{"the total alone, whatever is said of the count", "_summary=count&_count=5", []Sort{id}, 0, TotalAccurate, "_count=0"},
		{"no summary", "_summary=false", []Sort{id}, 50, TotalNone, "_count=50"},
		{"a total", "_total=accurate", []Sort{id}, 50, TotalAccurate, "_count=50&_total=accurate"},
		{"an estimate", "_total=estimate", []Sort{id}, 50, TotalEstimate, "_count=50&_total=estimate"},
	} {
		q, _, err := tryParse("Observation", c.query, Strict)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !slices.Equal(q.Sort, c.sort) || q.Count != c.count || q.Total != c.total || q.Encode() != c.encoded {
			t.Errorf("%s: %v %d %s %s", c.name, q.Sort, q.Count, q.Total, q.Encode())
		}
	}
}

// http://hl7.org/fhir/R4/search.html#conformance
func TestEncodeSaysWhatWasUsed(t *testing.T) {
	q := parse(t, "Observation", "nonsense=1&subject:Patient=1&code=s|a%5C%2Cb,c&date=ge2024-05-11T16:32:15+02:00&value-quantity=&_count=5000&_format=json")
	want := `subject%3APatient=1&code=s%7Ca%5C%2Cb%2Cc&date=ge2024-05-11T16%3A32%3A15%2B02%3A00&_count=1000`
	if got := q.Encode(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestPairsKeepOrderAndRepetition(t *testing.T) {
	got, err := Pairs("b=1&a=2&&b=3%2B4+5&c&=6;7")
	want := []Pair{{"b", "1"}, {"a", "2"}, {"b", "3+4 5"}, {"c", ""}, {"", "6;7"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Pairs = %v, %v, want %v", got, err, want)
	}
}

// http://hl7.org/fhir/R4/search.html#combining
func TestRepeatedParametersAreSeparateConditions(t *testing.T) {
	if q := parse(t, "Observation", "date=ge2024&date=lt2025"); len(q.Where) != 2 {
		t.Errorf("%+v", q.Where)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"code=http://loinc.org|8867-4,|b&date=ge2024-05&_sort=-date&_count=5", `code=a\,b\\,\|c|d`, "subject:Patient=1&patient=Patient/2", "subject:identifier=s|v&device=urn:uuid:1",
		"value-quantity=ap5.40e-3|s|mg&value-quantity=ne-0||u", "code:not=x&status:missing=true&_id=a,b", "_summary=count&_total=accurate", "date=ap2024-01-01T10:00:00+02:00", "%zz=1", "_cursor=AQ", "date=2016-12-31T23:59:60Z",
	} {
		f.Add(seed, "Observation")
	}
	f.Add("birthdate=lt1970&active=true&gender:not=male", "Patient")
	f.Fuzz(func(t *testing.T, query, resourceType string) {
		q, _, err := tryParse(resourceType, query, Lenient)
		if err != nil {
			return
		}
		if n := len(q.Sort); n == 0 || q.Sort[n-1].Param != "_id" || q.Count < 0 || q.Count > MaxCount || len(q.Where) > MaxClauses {
			t.Errorf("%+v", q)
		}
		again, issues, err := tryParse(resourceType, q.Encode(), Strict)
		if err != nil || len(issues) > 0 {
			t.Fatalf("%s: %v %v", q.Encode(), err, issues)
		}
		if diff := gocmp.Diff(q, again, decimals); diff != "" {
			t.Errorf("%s (-first +again):\n%s", q.Encode(), diff)
		}
		_, found := terms(t, heartRate)
		q.Matches(fhir.Key{Type: resourceType, ID: "x"}, now, &found)
	})
}
