package rest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/rest"
)

func bundleOf(kind string, entries ...string) string {
	list := ""
	if len(entries) > 0 {
		list = `,"entry":[` + strings.Join(entries, ",") + `]`
	}
	return `{"resourceType":"Bundle","type":"` + kind + `"` + list + `}`
}

func transaction(entries ...string) string { return bundleOf("transaction", entries...) }

// sent is an entry; parts of the request are "name: value".
func sent(fullURL, resource, method, url string, parts ...string) string {
	var b strings.Builder
	b.WriteString("{")
	if fullURL != "" {
		fmt.Fprintf(&b, `"fullUrl":%q,`, fullURL)
	}
	if resource != "" {
		fmt.Fprintf(&b, `"resource":%s,`, resource)
	}
	fmt.Fprintf(&b, `"request":{"method":%q,"url":%q`, method, url)
	for _, p := range parts {
		name, value, _ := strings.Cut(p, ": ")
		fmt.Fprintf(&b, `,%q:%q`, name, value)
	}
	b.WriteString("}}")
	return b.String()
}

var typeInJSON = regexp.MustCompile(`"resourceType":"(\w+)"`)

// post is an entry that creates; the condition may be "".
func post(fullURL, resource, ifNoneExist string) string {
	parts := []string{}
	if ifNoneExist != "" {
		parts = append(parts, "ifNoneExist: "+ifNoneExist)
	}
	return sent(fullURL, resource, "POST", typeInJSON.FindStringSubmatch(resource)[1], parts...)
}

// done is the answer to a batch or transaction.
type done struct {
	Type  string
	Entry []struct {
		FullURL  string
		Resource json.RawMessage
		Response struct {
			Status, Location, Etag, LastModified string
			Outcome                              *outcome
		}
	}
}

func (a *api) post(t testing.TB, body string, headers ...string) done {
	t.Helper()
	var d done
	a.do(t, "POST", "/fhir", body, headers...).wantStatus(t, 200).decode(t, &d)
	return d
}

func (d done) statuses() string {
	var all []string
	for _, e := range d.Entry {
		all = append(all, e.Response.Status)
	}
	return strings.Join(all, ", ")
}

// id is that of the resource in the location of an entry.
func (d done) id(t testing.TB, i int) string {
	t.Helper()
	parts := strings.Split(d.Entry[i].Response.Location, "/")
	if len(parts) < 4 {
		t.Fatalf("entry %d has the location %q", i, d.Entry[i].Response.Location)
	}
	return parts[len(parts)-3]
}

const (
	uuidA = "urn:uuid:6f5f0a5c-4f5b-4b0a-8f0e-00000000000a"
	uuidB = "urn:uuid:6f5f0a5c-4f5b-4b0a-8f0e-00000000000b"
	uuidC = "urn:uuid:6f5f0a5c-4f5b-4b0a-8f0e-00000000000c"
)

func (a *api) total(t testing.TB, resourceType string) int {
	t.Helper()
	return *a.do(t, "GET", "/fhir/"+resourceType+"?_total=accurate&_summary=count", "").bundle(t).Total
}

func TestTransactionAnswersInTheOrderOfTheRequest(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/old", known("old", "old", "")).wantStatus(t, 201)
	a.do(t, "PUT", "/fhir/Patient/kept", known("kept", "kept", "")).wantStatus(t, 201)
	d := a.post(t, transaction(
		sent("", "", "GET", "Patient/new"),
		sent("", "", "GET", "Patient?identifier=http://h.example|a"),
		sent("", known("new", "n", ""), "PUT", "Patient/new"),
		post(uuidA, known("", "a", ""), ""),
		sent("", "", "DELETE", "Patient/old"),
		sent("", known("kept", "kept", `,"active":true`), "PUT", "Patient/kept", `ifMatch: W/"1"`),
		sent("", "", "GET", "Patient/old"),
	))
	if got, want := d.statuses(), "200 OK, 200 OK, 201 Created, 201 Created, 204 No Content, 200 OK, 410 Gone"; d.Type != "transaction-response" || got != want {
		t.Fatalf("%s: %s, want %s", d.Type, got, want)
	}
	if !strings.Contains(string(d.Entry[0].Resource), `"id":"new"`) || !strings.Contains(string(d.Entry[1].Resource), `"id":"`+d.id(t, 3)+`"`) {
		t.Errorf("the reads do not see the writes: %s %s", d.Entry[0].Resource, d.Entry[1].Resource)
	}
	e := d.Entry[5]
	if e.Response.Etag != `W/"2"` || e.Response.LastModified != "2024-05-01T12:00:00.100Z" || e.Response.Location != "http://example.com/fhir/Patient/kept/_history/2" || e.Resource != nil {
		t.Errorf("%+v", e)
	}
	if o := d.Entry[6].Response.Outcome; o == nil || o.Issue[0].Expression[0] != "Bundle.entry[6]" {
		t.Errorf("%+v", o)
	}
}

func TestTransactionPreferences(t *testing.T) {
	a := newAPI(t, rest.Options{})
	body := transaction(sent("", known("p", "a", ""), "PUT", "Patient/p"))
	if e := a.post(t, body).Entry[0]; e.Resource != nil || e.Response.Outcome != nil {
		t.Errorf("without a preference: %+v", e)
	}
	if e := a.post(t, body, "Prefer: return=representation").Entry[0]; e.FullURL != "http://example.com/fhir/Patient/p" || !strings.Contains(string(e.Resource), `"id":"p"`) {
		t.Errorf("representation: %+v", e)
	}
	if e := a.post(t, body, "Prefer: return=OperationOutcome").Entry[0]; e.Resource != nil || e.Response.Outcome == nil {
		t.Errorf("OperationOutcome: %+v", e)
	}
}

func TestLinksBetweenEntriesFollowTheNewIDs(t *testing.T) {
	a := newAPI(t, rest.Options{})
	const full = "http://other.example/fhir/"
	observation := func(subject string) string {
		return strings.TrimSuffix(heartRate("", subject, "2024-05-01T10:00:00Z", "72.50"), "}") +
			`,"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">é <a title=\"x\" href=\"` + uuidA + `\">a</a> <a href='` + uuidA + `#n'>b</a> <a href=\"http://x.example?a=1&amp;b=2\">c</a> <img src=\"` + uuidA + `\"/> ` + uuidA + `</div>"}` +
			`,"extension":[{"url":"http://x.example/e","valueUrl":"` + uuidA + `"},{"url":"http://x.example/e","valueUri":"` + uuidA + `"},{"url":"http://x.example/e","valueString":"` + uuidA + `"},{"url":"http://x.example/e","valueReference":{"reference":"` + uuidA + `"}},{"url":"http://x.example/e","valueAttachment":{"url":"` + uuidA + `"}},{"url":"http://x.example/e","valueCanonical":"` + uuidA + `"}]` +
			`,"note":[{"text":"` + uuidA + `","_text":{"extension":[{"url":"http://x.example/e","valueReference":{"reference":"` + uuidA + `"}}]}}]` +
			`,"contained":[{"resourceType":"Patient","id":"c","link":[{"other":{"reference":"` + uuidA + `"},"type":"seealso"}]}],"focus":[{"reference":"#c"},{"reference":"Patient/elsewhere"},{"reference":"http://third.example/Patient/1"}]}`
	}
	d := a.post(t, transaction(
		post(uuidC, observation(uuidA), ""), // before the entry that it refers to
		post(uuidA, known("", "a", `,"link":[{"other":{"reference":"`+uuidB+`"},"type":"seealso"}]`), ""),
		post(uuidB, known("", "b", `,"link":[{"other":{"reference":"`+uuidA+`"},"type":"seealso"}]`), ""),
		post(full+"Patient/1", known("1", "d", ""), ""),
		post(full+"Observation/1", heartRate("", "Patient/1", "2024-05-01T10:00:00Z", "1"), ""),
		post(full+"Observation/2", heartRate("", full+"Patient/1", "2024-05-01T10:00:00Z", "2"), ""),
	))
	idA, idB, idD := "Patient/"+d.id(t, 1), "Patient/"+d.id(t, 2), "Patient/"+d.id(t, 3)
	got := string(a.do(t, "GET", "/fhir/Observation/"+d.id(t, 0), "").body)
	for part, n := range map[string]int{
		`{"reference":"` + idA + `"}`: 4, `"valueUrl":"` + idA + `"`: 1, `"valueUri":"` + idA + `"`: 1, `"valueAttachment":{"url":"` + idA + `"`: 1,
		`"valueString":"` + uuidA: 1, `"valueCanonical":"` + uuidA: 1, `"text":"` + uuidA: 1,
		`href=\"` + idA + `\"`: 1, `href='` + idA + `#n'`: 1, `src=\"` + idA + `\"`: 1, `?a=1&amp;b=2`: 1, `> ` + uuidA + `</div>`: 1,
		`"value":72.50,`: 1, `{"reference":"Patient/elsewhere"}`: 1, `{"reference":"#c"}`: 1, `{"reference":"http://third.example/Patient/1"}`: 1,
		uuidA: 4,
	} {
		if c := strings.Count(got, part); c != n {
			t.Errorf("%s is there %d times, want %d: %s", part, c, n, got)
		}
	}
	for i, want := range map[int]string{1: idB, 2: idA} {
		if got := string(a.do(t, "GET", "/fhir/Patient/"+d.id(t, i), "").body); !strings.Contains(got, `"reference":"`+want+`"`) {
			t.Errorf("the circle is broken: %s", got)
		}
	}
	for _, i := range []int{4, 5} {
		if got := string(a.do(t, "GET", "/fhir/Observation/"+d.id(t, i), "").body); !strings.Contains(got, `"subject":{"reference":"`+idD+`"}`) {
			t.Errorf("entry %d: %s, want %s", i, got, idD)
		}
	}
}

func TestConditionsInTransactions(t *testing.T) {
	ref := func(to string) string { return post("", heartRate("", to, "2024-05-01T10:00:00Z", "72"), "") }
	for _, c := range []struct {
		rule    string
		entries []string
		status  string // of the entries
		subject string // of the Observation, "%d" is the id of that entry
		total   int    // of Patients
	}{
		{"ifNoneExist that matches leads siblings to what is there", []string{post(uuidA, known("", "a", ""), byA), ref(uuidA)}, "200 OK, 201 Created", "there", 1},
		{"ifNoneExist without a match creates", []string{post(uuidA, known("", "b", ""), "identifier=http://h.example|b"), ref(uuidA)}, "201 Created, 201 Created", "0", 2},
		{"two entries with the same ifNoneExist create one resource", []string{post(uuidA, known("", "b", ""), "identifier=http://h.example|b"), post(uuidB, known("", "b", ""), "identifier=http://h.example|b"), ref(uuidB)}, "201 Created, 200 OK, 201 Created", "0", 2},
		{"two entries with the same ifNoneExist find one resource", []string{post(uuidA, known("", "a", ""), byA), post(uuidB, known("", "a", ""), byA), ref(uuidB)}, "200 OK, 200 OK, 201 Created", "there", 1},
		{"ifNoneExist does not find what the transaction deletes", []string{sent("", "", "DELETE", "Patient/other"), post(uuidA, known("", "z", ""), "identifier=http://h.example|b"), ref(uuidA)}, "204 No Content, 201 Created, 201 Created", "1", 2},
		{"conditional update updates the match", []string{sent(uuidA, known("", "a", `,"active":true`), "PUT", "Patient?"+byA), ref(uuidA)}, "200 OK, 201 Created", "there", 1},
		{"conditional update creates without a match", []string{sent(uuidA, known("", "c", ""), "PUT", "Patient?identifier=http://h.example|c"), ref(uuidA)}, "201 Created, 201 Created", "0", 2},
		{"conditional delete deletes the match", []string{sent("", "", "DELETE", "Patient?"+byA), ref("Patient/x")}, "204 No Content, 201 Created", "x", 0},
		{"conditional delete of nothing is no error", []string{sent("", "", "DELETE", "Patient?identifier=none"), ref("Patient/x")}, "204 No Content, 201 Created", "x", 1},
		{"a conditional reference becomes a reference", []string{ref("Patient?" + byA)}, "201 Created", "there", 1},
		{"a conditional reference finds what the transaction creates", []string{ref("Patient?identifier=http://h.example|c"), post("", known("", "c", ""), "")}, "201 Created, 201 Created", "1", 2},
		{"a conditional reference finds what the transaction changes", []string{ref("Patient?identifier=http://h.example|c"), sent("", known("there", "c", ""), "PUT", "Patient/there")}, "201 Created, 200 OK", "there", 1},
		{"an update names the resource for its siblings", []string{sent(uuidA, known("mine", "m", ""), "PUT", "Patient/mine"), ref(uuidA)}, "201 Created, 201 Created", "mine", 2},
		{"a patch is a Binary with a JSON Patch", []string{sent(uuidA, `{"resourceType":"Binary","contentType":"application/json-patch+json","data":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL2FjdGl2ZSIsInZhbHVlIjp0cnVlfV0="}`, "PATCH", "Patient?"+byA), ref("Patient/there")}, "200 OK, 201 Created", "there", 1},
		{"a patch is Parameters with a FHIRPath Patch", []string{sent(uuidA, `{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"add"},{"name":"path","valueString":"Patient"},{"name":"name","valueString":"active"},{"name":"value","valueBoolean":true}]}]}`, "PATCH", "Patient/there"), ref("Patient/there")}, "200 OK, 201 Created", "there", 1},
		{"a url may be that of the server", []string{sent("", known("mine", "m", ""), "PUT", "http://example.com/fhir/Patient/mine"), ref("Patient/mine")}, "201 Created, 201 Created", "mine", 2},
	} {
		t.Run(c.rule, func(t *testing.T) {
			a := newAPI(t, rest.Options{})
			a.do(t, "PUT", "/fhir/Patient/there", known("there", "a", "")).wantStatus(t, 201)
			if strings.Contains(c.rule, "deletes") {
				a.do(t, "PUT", "/fhir/Patient/other", known("other", "b", "")).wantStatus(t, 201)
			}
			if c.rule == "conditional delete deletes the match" {
				a.do(t, "DELETE", "/fhir/Patient/other", "").wantStatus(t, 204)
			}
			d := a.post(t, transaction(c.entries...))
			if d.statuses() != c.status {
				t.Fatalf("%s, want %s", d.statuses(), c.status)
			}
			var i int
			if n, _ := fmt.Sscanf(c.subject, "%d", &i); n == 1 {
				c.subject = d.id(t, i)
			}
			got := string(a.do(t, "GET", "/fhir/Observation", "").body)
			if !strings.Contains(got, `"subject":{"reference":"Patient/`+c.subject+`"}`) {
				t.Errorf("want a reference to %s: %s", c.subject, got)
			}
			if n := a.total(t, "Patient"); n != c.total {
				t.Errorf("%d Patients, want %d", n, c.total)
			}
			for i, e := range d.Entry {
				if e.Response.Location == "" && !strings.HasPrefix(e.Response.Status, "204") {
					t.Errorf("entry %d has no location", i)
				}
			}
		})
	}
}

func TestTransactionsThatFailLeaveNothing(t *testing.T) {
	ok := post("", known("", "new", ""), "")
	ref := func(to string) string { return post("", heartRate("", to, "2024-05-01T10:00:00Z", "72"), "") }
	for _, c := range []struct {
		rule   string
		entry  string
		status int
		path   string
	}{
		{"a resource that is not valid", post("", `{"resourceType":"Observation","status":"dancing","code":{"text":"x"}}`, ""), 400, "Bundle.entry[1].resource"},
		{"a resource that breaks an invariant", post("", `{"resourceType":"Patient","contact":[{"gender":"male"}]}`, ""), 422, "Bundle.entry[1].resource"},
		{"ifMatch of another version", sent("", known("there", "a", ""), "PUT", "Patient/there", `ifMatch: W/"7"`), 412, "Bundle.entry[1]"},
		{"ifNoneMatch of what is there", sent("", known("there", "a", ""), "PUT", "Patient/there", `ifNoneMatch: *`), 412, "Bundle.entry[1]"},
		{"a delete with ifMatch of another version", sent("", "", "DELETE", "Patient/there", `ifMatch: W/"7"`), 412, "Bundle.entry[1]"},
		{"ifNoneExist with many matches", post("", known("", "x", ""), "identifier=http://h.example|twice"), 412, "Bundle.entry[1]"},
		{"conditional update with many matches", sent("", known("", "x", ""), "PUT", "Patient?identifier=http://h.example|twice"), 412, "Bundle.entry[1]"},
		{"conditional update with a match and another id", sent("", known("x", "a", ""), "PUT", "Patient?"+byA), 400, "Bundle.entry[1].resource.id"},
		{"conditional delete with many matches", sent("", "", "DELETE", "Patient?identifier=http://h.example|twice"), 412, "Bundle.entry[1]"},
		{"a conditional reference without a match", ref("Patient?identifier=none"), 422, "Bundle.entry[1]"},
		{"a conditional reference with many matches", ref("Patient?identifier=http://h.example|twice"), 412, "Bundle.entry[1]"},
		{"a conditional reference that cannot be understood", ref("Patient?nonsense=1"), 400, "Bundle.entry[1]"},
		{"a reference to an entry that is not there", ref(uuidC), 422, "Bundle.entry[1]"},
		{"an update whose id is not that of the url", sent("", known("x", "a", ""), "PUT", "Patient/y"), 400, "Bundle.entry[1].resource.id"},
		{"a resource of another type than the url", sent("", known("", "a", ""), "POST", "Device"), 400, "Bundle.entry[1].resource"},
		{"a type that does not exist", sent("", known("", "a", ""), "POST", "Patience"), 404, "Bundle.entry[1]"},
		{"a url of another server", sent("", known("x", "a", ""), "PUT", "http://other.example/fhir/Patient/x"), 404, "Bundle.entry[1]"},
		{"no resource", sent("", "", "POST", "Patient"), 400, "Bundle.entry[1]"},
		{"a patch of what is not there", sent("", `{"resourceType":"Parameters"}`, "PATCH", "Patient/none"), 404, "Bundle.entry[1]"},
		{"an operation", sent("", known("", "a", ""), "POST", "Patient/$validate"), 400, "Bundle.entry[1].request.url"},
		{"a transaction in a transaction", sent("", transaction(), "POST", "/"), 400, "Bundle.entry[1].request.url"},
		{"a batch in a transaction", sent("", transaction(), "POST", "?"), 400, "Bundle.entry[1].request.url"},
		{"a search that cannot be understood", sent("", "", "GET", "Patient?birthdate=x"), 400, "Bundle.entry[1]"},
		{"a read of a type that does not exist", sent("", "", "GET", "Patience/x"), 404, "Bundle.entry[1]"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			a := newAPI(t, rest.Options{})
			a.do(t, "PUT", "/fhir/Patient/there", known("there", "a", "")).wantStatus(t, 201)
			for range 2 {
				a.do(t, "POST", "/fhir/Patient", known("", "twice", "")).wantStatus(t, 201)
			}
			got := a.do(t, "POST", "/fhir", transaction(ok, c.entry, ok)).wantStatus(t, c.status)
			issues := got.outcome(t).Issue
			issue := issues[max(0, slices.IndexFunc(issues, func(i issue) bool { return i.Severity == "error" }))]
			if len(issue.Expression) != 1 || !strings.HasPrefix(issue.Expression[0], c.path) {
				t.Errorf("the issue is at %v, want %s: %s", issue.Expression, c.path, got.body)
			}
			if n := a.total(t, "Patient"); n != 3 {
				t.Errorf("%d Patients are there", n)
			}
			if b := a.do(t, "GET", "/fhir/Patient/there/_history", "").bundle(t); len(b.Entry) != 1 {
				t.Errorf("Patient/there has %d versions", len(b.Entry))
			}
		})
	}
}

func TestIdentitiesInATransactionAreDistinct(t *testing.T) {
	for _, entries := range [][]string{
		{sent("", known("there", "a", ""), "PUT", "Patient/there"), sent("", known("there", "b", ""), "PUT", "Patient/there")},
		{sent("", known("there", "a", ""), "PUT", "Patient/there"), sent("", "", "DELETE", "Patient/there")},
		{sent("", known("", "a", ""), "PUT", "Patient?"+byA), sent("", known("there", "a", ""), "PUT", "Patient/there")},
		{post("", known("", "c", ""), ""), sent("", known("", "c", ""), "PUT", "Patient?identifier=http://h.example|c")},
		{sent(uuidA, known("x", "x", ""), "PUT", "Patient/x"), post(uuidA, known("", "y", ""), "")},
	} {
		a := newAPI(t, rest.Options{})
		a.do(t, "PUT", "/fhir/Patient/there", known("there", "a", "")).wantStatus(t, 201)
		if got := a.do(t, "POST", "/fhir", transaction(entries...)); got.StatusCode != 400 && got.StatusCode != 422 {
			t.Errorf("%d for %s", got.StatusCode, entries)
		}
		if n := a.total(t, "Patient"); n != 1 {
			t.Errorf("%d Patients are there after %s", n, entries)
		}
	}
}

func TestBatchDoesEachEntryByItself(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/there", known("there", "a", "")).wantStatus(t, 201)
	d := a.post(t, bundleOf("batch",
		post("", known("", "a", ""), byA),
		post("", `{"resourceType":"Observation"}`, ""),
		sent("", known("new", "b", ""), "PUT", "Patient/new"),
		sent("", known("there", "a", `,"active":true`), "PUT", "Patient/there", `ifMatch: W/"9"`),
		sent("", `{"resourceType":"Binary","contentType":"application/json-patch+json","data":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL2FjdGl2ZSIsInZhbHVlIjp0cnVlfV0="}`, "PATCH", "Patient/there"),
		sent("", "", "GET", "Patient/there"),
		sent("", "", "GET", "Patient?identifier=http://h.example|b&_elements=identifier"),
		sent("", "", "GET", "Patient/there", `ifNoneMatch: W/"2"`),
		sent("", "", "HEAD", "Patient/there"),
		sent("", "", "DELETE", "Patient/new"),
		sent("", "", "GET", "Patient/none"),
		sent("", "", "GET", "Patient/there/_history"),
		sent("", "", "GET", "metadata"),
		sent("", "", "PUT", "Patient"),
		sent("", bundleOf("batch"), "POST", "/"),
		sent("", known("", "v", ""), "POST", "Patient/$validate"),
	))
	want := "200 OK, 400 Bad Request, 201 Created, 412 Precondition Failed, 200 OK, 200 OK, 200 OK, 304 Not Modified, 200 OK, 204 No Content, 404 Not Found, 200 OK, 200 OK, 400 Bad Request, 400 Bad Request, 200 OK"
	if got := d.statuses(); d.Type != "batch-response" || got != want {
		t.Fatalf("%s:\n got %s\nwant %s", d.Type, got, want)
	}
	if o := d.Entry[1].Response.Outcome; o == nil || !strings.HasPrefix(o.Issue[0].Expression[0], "Bundle.entry[1].resource") {
		t.Errorf("%+v", o)
	}
	if len(d.Entry[2].Resource) > 0 || d.Entry[2].Response.Location != "http://example.com/fhir/Patient/new/_history/1" {
		t.Errorf("%+v", d.Entry[2])
	}
	if !strings.Contains(string(d.Entry[5].Resource), `"active":true`) {
		t.Errorf("the read does not see the patch: %s", d.Entry[5].Resource)
	}
}

func TestBundlesThatAreNoBatchAreRefused(t *testing.T) {
	a := newAPI(t, rest.Options{})
	many := make([]string, 5001)
	for i := range many {
		many[i] = sent("", "", "GET", "Patient/x")
	}
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"another resource", patient, 400},
		{"another type", bundleOf("collection"), 400},
		{"no JSON", "x", 400},
		{"entries that are no list", `{"resourceType":"Bundle","type":"batch","entry":{}}`, 400},
		{"too many entries", bundleOf("batch", many...), 413},
		{"a transaction entry without a request", transaction(`{"resource":` + patient + `}`), 400},
		{"nothing to do", transaction(), 200},
		{"an empty batch", bundleOf("batch"), 200},
	} {
		if got := a.do(t, "POST", "/fhir", c.body); got.StatusCode != c.status && !(c.status == 400 && got.StatusCode == 422) {
			t.Errorf("%s: %d, want %d: %.300s", c.name, got.StatusCode, c.status, got.body)
		}
	}
}

// http://hl7.org/fhir/uv/phd: a gateway sends its devices and the patient with every upload.
func TestTheBundleOfThePHDGuideMakesNoDuplicates(t *testing.T) {
	body, err := os.ReadFile(filepath.Join(fhirtest.Shared(t), "fhir", "phd", "examples", "bundle-example-1.json"))
	if err != nil {
		t.Fatal(err)
	}
	// As published, the condition of the Patient asks for another system than its identifier has.
	body = bytes.Replace(body, []byte("urn:oid:2.9991.2.3"), []byte("urn:oid:2.999.1.2.3"), 1)
	a := newAPI(t, rest.Options{})
	first, second := a.post(t, string(body)), a.post(t, string(body))
	if got, want := first.statuses(), strings.TrimSuffix(strings.Repeat("201 Created, ", 6), ", "); got != want {
		t.Errorf("first: %s", got)
	}
	if got, want := second.statuses(), "200 OK, 200 OK, 200 OK, 201 Created, 201 Created, 201 Created"; got != want {
		t.Errorf("second: %s", got)
	}
	if p, d := a.total(t, "Patient"), a.total(t, "Device"); p != 1 || d != 2 {
		t.Errorf("%d Patients and %d Devices, want 1 and 2", p, d)
	}
	for i := range 3 {
		if first.id(t, i) != second.id(t, i) {
			t.Errorf("entry %d: %s, then %s", i, first.id(t, i), second.id(t, i))
		}
	}
	got := string(a.do(t, "GET", "/fhir/Observation/"+second.id(t, 4), "").body)
	if !strings.Contains(got, `"subject":{"reference":"Patient/`+first.id(t, 0)+`"}`) || strings.Contains(got, "urn:uuid") {
		t.Errorf("the Observation: %s", got)
	}
}

// state is what clients see of the Patients: id without version, and content.
func (a *api) state(t testing.TB) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, e := range a.do(t, "GET", "/fhir/Patient?_count=1000", "").bundle(t).Entry {
		var r map[string]json.RawMessage
		if err := json.Unmarshal(e.Resource, &r); err != nil {
			t.Fatal(err)
		}
		id := string(r["id"])
		delete(r, "meta")
		if !strings.HasPrefix(id, `"p`) {
			delete(r, "id") // made by the server
			id = string(r["identifier"])
		}
		content, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		state[id] = string(content)
	}
	return state
}

// A transaction of entries that do not concern each other does what the entries do one by one.
func TestATransactionIsItsEntries(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		together, apart := newAPI(t, rest.Options{}), newAPI(t, rest.Options{})
		for _, a := range []*api{together, apart} {
			for i := range 4 {
				id := fmt.Sprintf("p%d", i)
				a.do(t, "PUT", "/fhir/Patient/"+id, known(id, id, "")).wantStatus(t, 201)
			}
		}
		var entries []string
		ids := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7}).Draw(rt, "ids")
		for _, i := range ids[:rapid.IntRange(1, 8).Draw(rt, "n")] {
			id := fmt.Sprintf("p%d", i)
			active := fmt.Sprintf(`,"active":%t`, rapid.Bool().Draw(rt, "active"))
			condition := "identifier=http://h.example|" + id
			entries = append(entries, rapid.SampledFrom([]string{
				sent("", known(id, id, active), "PUT", "Patient/"+id),
				sent("", known("", id, active), "PUT", "Patient?"+condition),
				post("", known("", id, active), condition),
				sent("", "", "DELETE", "Patient/"+id),
				sent("", "", "DELETE", "Patient?"+condition),
				sent("", "", "GET", "Patient/"+id+"/_history/1"),
			}).Draw(rt, "entry"))
		}
		got := together.post(t, transaction(entries...))
		for i, e := range entries {
			one := apart.post(t, bundleOf("batch", e))
			if g, w := got.Entry[i].Response.Status, one.Entry[0].Response.Status; g != w {
				rt.Errorf("entry %d: %s together, %s apart: %s", i, g, w, e)
			}
		}
		if g, w := together.state(t), apart.state(t); !maps.Equal(g, w) {
			rt.Errorf("together %v, apart %v: %v", slices.Sorted(maps.Values(g)), slices.Sorted(maps.Values(w)), entries)
		}
	})
}

// FuzzTransaction sends anything as a Bundle: no panic, no 500, and all or nothing.
func FuzzTransaction(f *testing.F) {
	for _, seed := range []string{
		transaction(post(uuidA, known("", "a", ""), byA), post(uuidB, heartRate("", uuidA, "2024-05-01T10:00:00Z", "72.50"), "")),
		transaction(post("", heartRate("", "Patient?"+byA, "2024-05-01T10:00:00Z", "72.50"), ""), sent("", "", "DELETE", "Patient?"+byA), sent("", "", "GET", "Patient/p1")),
		bundleOf("batch", sent("", known("p1", "a", ""), "PUT", "Patient/p1", `ifMatch: W/"1"`), sent("", `{"resourceType":"Parameters"}`, "PATCH", "Patient/p1")),
		transaction(post(uuidA, `{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><a href=\"`+uuidA+`\">x</a></div>"}}`, "")),
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	apis := map[bool]*api{false: newAPI(f, rest.Options{}), true: newAPI(f, rest.Options{Validation: rest.ValidateNothing})}
	f.Fuzz(func(t *testing.T, body string, unchecked bool) {
		a := apis[unchecked]
		got := a.send(t, "POST", "/fhir", body)
		if got.StatusCode == http.StatusInternalServerError || got.StatusCode >= 400 && got.outcome(t).Issue == nil {
			t.Fatalf("%d: %s", got.StatusCode, got.body)
		}
		if got.StatusCode == 200 && !json.Valid(got.body) {
			t.Fatalf("no JSON: %s", got.body)
		}
	})
}

// The entries of a batch are routed as requests are.
func TestEntriesAreRoutedLikeRequests(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "BREW"} {
		for _, path := range []string{
			"metadata", "_history", "_search", "Patient", "Patient/_search", "Patient/_history", "Patient/$validate", "Patient/$x", "$x", "Patient/p1", "Patient/_", "Patient/p1/_history",
			"Patient/p1/_history/1", "Patient/p1/$validate", "Patient/p1/$x", "Patient/p1/Observation", "Patient/p1/*", "Patient/p1/x", "Patient/p1/_history/1/x", "Patient/", "Patient//p1", "Patient/p1/", "..", "%2e", "Patient/p%31",
		} {
			if strings.Contains(path, "//") || path == ".." || path == "%2e" {
				continue // gin cleans these
			}
			alone := a.send(t, method, "/fhir/"+path, "")
			got := a.post(t, bundleOf("batch", sent("", "", method, path))).Entry[0].Response.Status
			if want := fmt.Sprint(alone.StatusCode, " ", http.StatusText(alone.StatusCode)); got != want {
				t.Errorf("%s %s: %s in a batch, %s alone", method, path, got, want)
			}
		}
	}
}
