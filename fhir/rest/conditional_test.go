package rest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// treated is a Patient with a general practitioner.
const treated = `{"resourceType":"Patient","active":true,"generalPractitioner":[{"reference":"Practitioner/d1"}]}`

const (
	reported = `{"resourceType":"MeasureReport","status":"complete","type":"summary","measure":"http://m.example/m|1","period":{"start":"2024"}}`
	here     = `{"resourceType":"Location","position":{"latitude":48.201,"longitude":16.401}}`
)

// known is a Patient with an identifier; id and more may be "".
func known(id, identifier, more string) string {
	if id != "" {
		id = fmt.Sprintf(`"id":%q,`, id)
	}
	return fmt.Sprintf(`{"resourceType":"Patient",%s"identifier":[{"system":"http://h.example","value":%q}]%s}`, id, identifier, more)
}

const byA = "identifier=http://h.example|a"

func TestConditionalInteractions(t *testing.T) {
	const spec = httpSpec + "#ccreate"
	create := step{method: "POST", url: "/fhir/Patient", body: known("", "a", ""), headers: []string{"If-None-Exist: " + byA}, status: 201}
	another := step{method: "POST", url: "/fhir/Patient", body: known("", "a", ""), status: 201}
	put := step{method: "PUT", url: "/fhir/Patient/p1", body: known("p1", "a", ""), status: 201}
	active := known("", "a", `,"active":true`)
	jsonPatch := []string{"Content-Type: ", "Content-Type: application/json-patch+json"}
	const add = `[{"op":"add","path":"/active","value":true}]`
	for _, c := range []struct {
		rule  string
		steps []step
	}{
		{"conditional create without a match creates", []step{create}},
		{"conditional create with a match is 200 and gives what is there", []step{put,
			{method: "POST", url: "/fhir/Patient", body: known("", "a", `,"active":true`), headers: create.headers, status: 200,
				want: []string{"Location: http://example.com/fhir/Patient/p1/_history/1", `ETag: W/"1"`, "Last-Modified: Wed, 01 May 2024 12:00:00 GMT"}, says: []string{`"id":"p1"`}},
			{method: "GET", url: "/fhir/Patient?_total=accurate", status: 200, says: []string{`"total":1`}}}},
		{"conditional create with many matches is 412", []step{another, another,
			{method: "POST", url: "/fhir/Patient", body: known("", "a", ""), headers: create.headers, status: 412, says: []string{"multiple-matches"}}}},
		{"a deleted resource is no match", []step{put, {method: "DELETE", url: "/fhir/Patient/p1", status: 204}, create}},
		{"the condition may come with a question mark or with its type", []step{put,
			{method: "POST", url: "/fhir/Patient", body: active, headers: []string{"If-None-Exist: ?" + byA}, status: 200},
			{method: "POST", url: "/fhir/Patient", body: active, headers: []string{"If-None-Exist: Patient?" + byA}, status: 200}}},
		{"the condition may lead through other resources", []step{
			{method: "PUT", url: "/fhir/Practitioner/d1", body: `{"resourceType":"Practitioner","id":"d1","name":[{"family":"x"}]}`, status: 201},
			{method: "POST", url: "/fhir/Patient", body: treated, headers: []string{"If-None-Exist: general-practitioner:Practitioner.name=x"}, status: 201},
			{method: "POST", url: "/fhir/Patient", body: treated, headers: []string{"If-None-Exist: general-practitioner:Practitioner.name=x"}, status: 200},
			{method: "POST", url: "/fhir/Patient", body: treated, headers: []string{"If-None-Exist: general-practitioner:Practitioner.name=y"}, status: 201},
			{method: "DELETE", url: "/fhir/Practitioner?_has:Patient:general-practitioner:active=false", status: 204},
			{method: "GET", url: "/fhir/Practitioner/d1", status: 200},
			{method: "DELETE", url: "/fhir/Practitioner?_has:Patient:general-practitioner:active=true", status: 204},
			{method: "GET", url: "/fhir/Practitioner/d1", status: 410}}},
		{"the condition may lead through a canonical URL, and be about a distance", []step{
			{method: "PUT", url: "/fhir/Measure/m1", body: `{"resourceType":"Measure","id":"m1","url":"http://m.example/m","version":"1","title":"x","status":"active"}`, status: 201},
			{method: "POST", url: "/fhir/MeasureReport", body: reported, headers: []string{"If-None-Exist: measure.title=x"}, status: 201},
			{method: "POST", url: "/fhir/MeasureReport", body: reported, headers: []string{"If-None-Exist: measure.title=x"}, status: 200},
			{method: "POST", url: "/fhir/MeasureReport", body: reported, headers: []string{"If-None-Exist: measure.title=y"}, status: 201},
			{method: "POST", url: "/fhir/Location", body: here, headers: []string{"If-None-Exist: near=48.2|16.4|1"}, status: 201},
			{method: "POST", url: "/fhir/Location", body: here, headers: []string{"If-None-Exist: near=48.2|16.4|1"}, status: 200},
			{method: "POST", url: "/fhir/Location", body: here, headers: []string{"If-None-Exist: near=48|16.4|1"}, status: 201},
			{method: "POST", url: "/fhir/Location", body: here, headers: []string{"If-None-Exist: near=98|16.4|1"}, status: 400, says: []string{"latitude", "positional"}}}},
		{"a condition that cannot be understood is 400", []step{
			{method: "POST", url: "/fhir/Patient", body: active, headers: []string{"If-None-Exist: nonsense=1"}, status: 400},
			{method: "POST", url: "/fhir/Patient", body: active, headers: []string{"If-None-Exist: nonsense=1", "Prefer: handling=lenient"}, status: 400},
			{method: "POST", url: "/fhir/Patient", body: active, headers: []string{"If-None-Exist: _count=1"}, status: 400},
			{method: "POST", url: "/fhir/Patient", body: active, headers: []string{"If-None-Exist: ?"}, status: 400},
			{method: "POST", url: "/fhir/Patient", body: active, headers: []string{"If-None-Exist: " + byA, "If-None-Exist: " + byA}, status: 400},
			{method: "POST", url: "/fhir/Patient", body: active, headers: []string{"If-None-Exist: general-practitioner:Practitioner.nonsense=x"}, status: 400},
			{method: "PUT", url: "/fhir/Patient", body: active, status: 400},
			{method: "PUT", url: "/fhir/Patient?nonsense=1", body: active, status: 400},
			{method: "DELETE", url: "/fhir/Patient", status: 400},
			{method: "DELETE", url: "/fhir/Patient?_format=json", status: 400},
			{method: "PATCH", url: "/fhir/Patient", body: add, headers: jsonPatch, status: 400}}},

		{"conditional update without a match and without an id creates", []step{
			{method: "PUT", url: "/fhir/Patient?" + byA, body: active, status: 201},
			{method: "PUT", url: "/fhir/Patient?" + byA, body: active, status: 200}}},
		{"conditional update without a match creates under the id that was sent", []step{
			{method: "PUT", url: "/fhir/Patient?" + byA, body: known("mine", "a", ""), status: 201, want: []string{"Location: http://example.com/fhir/Patient/mine/_history/1"}}}},
		{"conditional update without a match is 409 if the id is taken", []step{put,
			{method: "PUT", url: "/fhir/Patient?identifier=http://h.example|b", body: known("p1", "b", ""), status: 409},
			{method: "GET", url: "/fhir/Patient/p1", status: 200, want: []string{`ETag: W/"1"`}}}},
		{"conditional update brings the resource of a deleted id back", []step{put, {method: "DELETE", url: "/fhir/Patient/p1", status: 204},
			{method: "PUT", url: "/fhir/Patient?" + byA, body: known("p1", "a", ""), status: 201, want: []string{`ETag: W/"3"`}}}},
		{"conditional update with a match updates it, with its id or without one", []step{put,
			{method: "PUT", url: "/fhir/Patient?" + byA, body: active, status: 200, want: []string{`ETag: W/"2"`}, says: []string{`"id":"p1"`}},
			{method: "PUT", url: "/fhir/Patient?" + byA, body: known("p1", "a", ""), status: 200, want: []string{`ETag: W/"3"`}}}},
		{"conditional update with a match and another id is 400", []step{put,
			{method: "PUT", url: "/fhir/Patient?" + byA, body: known("p2", "a", ""), status: 400, says: []string{"Patient.id"}}}},
		{"conditional update with many matches is 412", []step{another, another,
			{method: "PUT", url: "/fhir/Patient?" + byA, body: active, status: 412}}},
		{"conditional update honours If-Match and If-None-Match", []step{
			{method: "PUT", url: "/fhir/Patient?" + byA, body: active, headers: []string{`If-Match: W/"1"`}, status: 412}, put,
			{method: "PUT", url: "/fhir/Patient?" + byA, body: active, headers: []string{`If-Match: W/"2"`}, status: 412},
			{method: "PUT", url: "/fhir/Patient?" + byA, body: active, headers: []string{`If-None-Match: *`}, status: 412},
			{method: "PUT", url: "/fhir/Patient?" + byA, body: active, headers: []string{`If-Match: W/"1"`}, status: 200}}},

		{"conditional delete deletes one match, and nothing is no error", []step{put,
			{method: "DELETE", url: "/fhir/Patient?" + byA, status: 204, want: []string{`ETag: W/"2"`}},
			{method: "GET", url: "/fhir/Patient/p1", status: 410},
			{method: "DELETE", url: "/fhir/Patient?" + byA, status: 204}}},
		{"conditional delete of many is 412", []step{another, another,
			{method: "DELETE", url: "/fhir/Patient?" + byA, status: 412},
			{method: "GET", url: "/fhir/Patient?_total=accurate", status: 200, says: []string{`"total":2`}}}},

		{"conditional patch changes the one match", []step{put,
			{method: "PATCH", url: "/fhir/Patient?" + byA, body: add, headers: jsonPatch, status: 200, want: []string{`ETag: W/"2"`}, says: []string{`"active":true`}}}},
		{"conditional patch of nothing is 404, of many 412", []step{
			{method: "PATCH", url: "/fhir/Patient?" + byA, body: add, headers: jsonPatch, status: 404}, another, another,
			{method: "PATCH", url: "/fhir/Patient?" + byA, body: add, headers: jsonPatch, status: 412}}},
	} {
		t.Run(c.rule, func(t *testing.T) { play(t, newAPI(t, rest.Options{}), spec, c.steps) })
	}
}

// play sends requests and compares what comes back.
func play(t *testing.T, a *api, spec string, steps []step) {
	t.Helper()
	for i, s := range steps {
		a.clock.forward(s.after)
		got := a.do(t, s.method, s.url, s.body, s.headers...)
		what := fmt.Sprintf("step %d: %s %.80s", i+1, s.method, s.url)
		if got.StatusCode != s.status {
			t.Fatalf("%s: status %d, want %d (%s)\n%s", what, got.StatusCode, s.status, spec, got.body)
		}
		for _, h := range s.want {
			name, want, _ := strings.Cut(h, ": ")
			if value := got.Header.Get(name); value != want {
				t.Errorf("%s: %s is %q, want %q (%s)", what, name, value, want, spec)
			}
		}
		for _, part := range s.says {
			if !strings.Contains(string(got.body), part) {
				t.Errorf("%s: the body does not say %q (%s)\n%s", what, part, spec, got.body)
			}
		}
	}
}

func TestConditionalDeleteOfSeveralIsAnOption(t *testing.T) {
	a := newAPI(t, rest.Options{ConditionalDelete: rest.DeleteMultiple})
	for range 3 {
		a.do(t, "POST", "/fhir/Patient", known("", "a", "")).wantStatus(t, 201)
	}
	a.do(t, "POST", "/fhir/Patient", known("", "b", "")).wantStatus(t, 201)
	a.do(t, "DELETE", "/fhir/Patient?"+byA, "", "Prefer: return=OperationOutcome").wantStatus(t, 200)
	if b := a.do(t, "GET", "/fhir/Patient?_total=accurate", "").bundle(t); *b.Total != 1 {
		t.Errorf("%d are left, want 1", *b.Total)
	}
	for _, r := range a.statement(t, "").Rest[0].Resource {
		if r.ConditionalDelete != "multiple" {
			t.Errorf("the CapabilityStatement says %q", r.ConditionalDelete)
		}
	}
}

// together calls f from n goroutines at once and counts the statuses.
func together(n int, f func(i int) int) map[int]int {
	var wg sync.WaitGroup
	var mu sync.Mutex
	counts := map[int]int{}
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			status := f(i)
			mu.Lock()
			defer mu.Unlock()
			counts[status]++
		})
	}
	close(begin)
	wg.Wait()
	return counts
}

// lagging is a store in which all clients have searched before one of them writes.
type lagging struct{ store.Store }

func (l lagging) Search(ctx context.Context, q search.Query) (store.Page, error) {
	p, err := l.Store.Search(ctx, q)
	time.Sleep(20 * time.Millisecond)
	return p, err
}

func TestManyClientsOnOneConditionCreateOneResource(t *testing.T) {
	for _, c := range []struct {
		name string
		send func(a *api, i int) int
	}{
		{"conditional create", func(a *api, i int) int {
			return a.send(t, "POST", "/fhir/Patient", known("", "a", ""), "If-None-Exist: "+byA).StatusCode
		}},
		{"conditional update", func(a *api, i int) int {
			return a.send(t, "PUT", "/fhir/Patient?"+byA, known("", "a", "")).StatusCode
		}},
		{"transaction", func(a *api, i int) int {
			return a.send(t, "POST", "/fhir", transaction(post("urn:uuid:6f5f0a5c-4f5b-4b0a-8f0e-000000000001", known("", "a", ""), byA))).StatusCode
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, rest.Options{})
			a.Handler = rest.New(lagging{a.store}, rest.Options{Now: a.clock.Now})
			counts := together(64, func(i int) int { return c.send(a, i) })
			if counts[200]+counts[201] != 64 {
				t.Errorf("statuses %v", counts)
			}
			if b := a.do(t, "GET", "/fhir/Patient?_total=accurate", "").bundle(t); *b.Total != 1 {
				t.Errorf("%d resources, want 1 (%v)", *b.Total, counts)
			}
		})
	}
}

func TestManyWritersOfOneResourceLoseNoneSilently(t *testing.T) {
	body := func(i int) string { return known("p1", fmt.Sprint(i), "") }
	for _, c := range []struct {
		name string
		send func(a *api, i int) int
	}{
		{"updates", func(a *api, i int) int { return a.send(t, "PUT", "/fhir/Patient/p1", body(i)).StatusCode }},
		{"updates with If-Match", func(a *api, i int) int {
			return a.send(t, "PUT", "/fhir/Patient/p1", body(i), `If-Match: W/"1"`).StatusCode
		}},
		{"patches", func(a *api, i int) int {
			return a.send(t, "PATCH", "/fhir/Patient/p1", fmt.Sprintf(`[{"op":"add","path":"/identifier/-","value":{"value":"%d"}}]`, i),
				"Content-Type: ", "Content-Type: application/json-patch+json").StatusCode
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, rest.Options{})
			a.do(t, "PUT", "/fhir/Patient/p1", known("p1", "first", "")).wantStatus(t, 201)
			counts := together(64, func(i int) int { return c.send(a, i) })
			if counts[200]+counts[409]+counts[412] != 64 || counts[200] == 0 {
				t.Errorf("statuses %v", counts)
			}
			if c.name == "updates" && counts[200] != 64 || c.name == "updates with If-Match" && counts[200] != 1 {
				t.Errorf("statuses %v", counts)
			}
			b := a.do(t, "GET", "/fhir/Patient/p1/_history?_count=200", "").bundle(t)
			if len(b.Entry) != 1+counts[200] {
				t.Errorf("%d versions after %d successes", len(b.Entry), counts[200])
			}
			if now := a.do(t, "GET", "/fhir/Patient/p1", ""); c.name == "patches" && strings.Count(string(now.body), `"value"`) != 1+counts[200] {
				t.Errorf("%d patches were acknowledged: %s", counts[200], now.body)
			}
		})
	}
}

func TestPatches(t *testing.T) {
	asJSONPatch := []string{"Content-Type: ", "Content-Type: application/json-patch+json"}
	asXML := []string{"Content-Type: ", "Content-Type: application/fhir+xml"}
	put := step{method: "PUT", url: "/fhir/Observation/o1", body: heartRate("o1", "Patient/p1", "2024-05-01T10:00:00Z", "72.50"), status: 201}
	const parameters = `{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"replace"},{"name":"path","valueString":"Observation.status"},{"name":"value","valueCode":"amended"}]}]}`
	const parametersXML = `<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="operation"/><part><name value="type"/><valueCode value="replace"/></part><part><name value="path"/><valueString value="Observation.status"/></part><part><name value="value"/><valueCode value="amended"/></part></parameter></Parameters>`
	const replace = `[{"op":"replace","path":"/status","value":"amended"}]`
	for _, c := range []struct {
		rule  string
		steps []step
	}{
		{"a JSON Patch changes what it names and no number text", []step{put,
			{method: "PATCH", url: "/fhir/Observation/o1", body: replace, headers: asJSONPatch, status: 200, want: []string{`ETag: W/"2"`}, says: []string{`"status":"amended"`, `"value":72.50,`, `"versionId":"2"`}}}},
		{"a FHIRPath Patch in JSON", []step{put, {method: "PATCH", url: "/fhir/Observation/o1", body: parameters, status: 200, says: []string{`"status":"amended"`, `"value":72.50,`}}}},
		{"a FHIRPath Patch in XML", []step{put, {method: "PATCH", url: "/fhir/Observation/o1", body: parametersXML, headers: asXML, status: 200, says: []string{`"status":"amended"`, `"value":72.50,`}}}},
		{"a patch of what is not there is 404, of what was deleted 410", []step{
			{method: "PATCH", url: "/fhir/Observation/o1", body: replace, headers: asJSONPatch, status: 404}, put,
			{method: "DELETE", url: "/fhir/Observation/o1", status: 204},
			{method: "PATCH", url: "/fhir/Observation/o1", body: replace, headers: asJSONPatch, status: 410}}},
		{"a patch honours If-Match", []step{put,
			{method: "PATCH", url: "/fhir/Observation/o1", body: replace, headers: append([]string{`If-Match: W/"2"`}, asJSONPatch...), status: 412, want: []string{`ETag: W/"1"`}},
			{method: "PATCH", url: "/fhir/Observation/o1", body: replace, headers: append([]string{`If-Match: W/"1"`}, asJSONPatch...), status: 200}}},
		{"a test that fails is 409", []step{put,
			{method: "PATCH", url: "/fhir/Observation/o1", body: `[{"op":"test","path":"/status","value":"amended"}]`, headers: asJSONPatch, status: 409}}},
		{"a path that leads nowhere is 422", []step{put,
			{method: "PATCH", url: "/fhir/Observation/o1", body: `[{"op":"remove","path":"/note"}]`, headers: asJSONPatch, status: 422}}},
		{"a patch that changes the id is 422", []step{put,
			{method: "PATCH", url: "/fhir/Observation/o1", body: `[{"op":"replace","path":"/id","value":"o2"}]`, headers: asJSONPatch, status: 422}}},
		{"a malformed patch is 400", []step{put,
			{method: "PATCH", url: "/fhir/Observation/o1", body: `[{"op":"dance"}]`, headers: asJSONPatch, status: 400},
			{method: "PATCH", url: "/fhir/Observation/o1", body: `[`, headers: asJSONPatch, status: 400},
			{method: "PATCH", url: "/fhir/Observation/o1", body: put.body, status: 400, says: []string{"Parameters"}}}},
		{"a patch whose result is not valid is refused and changes nothing", []step{put,
			{method: "PATCH", url: "/fhir/Observation/o1", body: `[{"op":"replace","path":"/status","value":"dancing"}]`, headers: asJSONPatch, status: 400, says: []string{"Observation.status"}},
			{method: "GET", url: "/fhir/Observation/o1", status: 200, want: []string{`ETag: W/"1"`}}}},
		{"another media type is 415 and tells which there are", []step{put,
			{method: "PATCH", url: "/fhir/Observation/o1", body: "<diff/>", headers: []string{"Content-Type: ", "Content-Type: application/xml-patch+xml"}, status: 415,
				want: []string{"Accept-Patch: application/json-patch+json, application/fhir+json, application/fhir+xml"}}}},
		{"a patch that changes nothing makes no version", []step{put,
			{method: "PATCH", url: "/fhir/Observation/o1", body: `[]`, headers: asJSONPatch, status: 200, want: []string{`ETag: W/"1"`}}}},
	} {
		t.Run(c.rule, func(t *testing.T) { play(t, newAPI(t, rest.Options{}), httpSpec+"#patch", c.steps) })
	}
}

func TestPartsOfAResource(t *testing.T) {
	const tag = `"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]`
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", `{"resourceType":"Patient","id":"p1","meta":{"tag":[{"code":"t"}]},"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"},"active":true,"name":[{"family":"F"}],"birthDate":"1970","_birthDate":{"id":"b"},"contact":[{"name":{"text":"C"}}],"link":[{"other":{"reference":"Patient/2"},"type":"seealso"}]}`).wantStatus(t, 201)
	a.do(t, "PUT", "/fhir/Observation/o1", heartRate("o1", "Patient/p1", "2024-05-01T10:00:00Z", "72.50")).wantStatus(t, 201)
	for _, c := range []struct {
		url           string
		there, hidden []string
	}{
		{"/fhir/Patient/p1?_elements=birthDate", []string{`"id":"p1"`, `"code":"t"},{"system":"http://terminology`, `"active":true`, `"birthDate":"1970","_birthDate":{"id":"b"}`}, []string{"name", "text", "contact"}},
		{"/fhir/Patient/p1?_elements=Patient.name,text", []string{`"family":"F"`, `"div"`}, []string{"birthDate", "contact"}},
		{"/fhir/Patient/p1?_summary=true", []string{`"family":"F"`, `"birthDate"`, `"link":[{"other":{"reference":"Patient/2"},"type":"seealso"}]`}, []string{"contact", "div"}},
		{"/fhir/Patient/p1?_summary=text", []string{`"div"`, `"id":"p1"`}, []string{"name", "birthDate"}},
		{"/fhir/Patient/p1?_summary=data", []string{`"name"`, `"contact"`}, []string{"div"}},
		{"/fhir/Patient/p1?_summary=false", []string{`"name"`, `"contact"`, `"div"`}, []string{"SUBSETTED"}},
		{"/fhir/Observation/o1?_elements=value", []string{`"status":"final"`, `"code":{`, `"value":72.50,`, tag}, []string{"subject", "device"}},
		{"/fhir/Observation/o1?_elements=valueQuantity", []string{`"value":72.50,`}, []string{"subject"}},
		{"/fhir/Observation/o1/_history/1?_elements=subject", []string{`"subject"`, tag}, []string{"valueQuantity"}},
	} {
		got := string(a.do(t, "GET", c.url, "").wantStatus(t, 200).body)
		for _, part := range c.there {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %s is not there: %s", c.url, part, got)
			}
		}
		for _, part := range c.hidden {
			if strings.Contains(got, part) {
				t.Errorf("%s: %s is there: %s", c.url, part, got)
			}
		}
	}
	for _, query := range []string{"_summary=count", "_summary=x", "_elements=,", "_elements=a$b", "_summary=text&_elements=name"} {
		a.do(t, "GET", "/fhir/Patient/p1?"+query, "").wantStatus(t, http.StatusBadRequest)
	}
}

func TestASearchInTheURLOfACreateIsItsCondition(t *testing.T) {
	const ada = `{"resourceType":"Patient","identifier":[{"system":"urn:s","value":"1"}],"name":[{"family":"Lovelace"}]}`
	a := newAPI(t, rest.Options{})
	a.send(t, "POST", "/fhir/Patient?identifier=urn:s%7C1", ada).wantStatus(t, 201)
	for _, query := range []string{"?identifier=urn:s%7C1", "?name:exact=Lovelace&_format=json", "?_has:Observation:patient:code=x&identifier=urn:s%7C1"} {
		want := 200
		if strings.Contains(query, "_has") {
			want = 201 // nothing is known of her
		}
		a.send(t, "POST", "/fhir/Patient"+query, ada).wantStatus(t, want)
	}
	a.send(t, "POST", "/fhir/Patient?identifier=urn:s%7C1", ada).wantStatus(t, 412) // there are two
	a.send(t, "POST", "/fhir/Patient?identifier=urn:s%7C1", ada, "If-None-Exist: identifier=urn:s%7C1").wantStatus(t, 400)
	a.send(t, "POST", "/fhir/Patient?identifier=urn:s%7C1&nmae=x", ada).wantStatus(t, 400)
	a.send(t, "POST", "/fhir/Patient?_format=json&_pretty=true", ada).wantStatus(t, 201)
	a.send(t, "PUT", "/fhir/Device/d", `{"resourceType":"Device","id":"d","identifier":[{"system":"urn:s","value":"2"}]}`).wantStatus(t, 201)
	for _, kind := range []string{"transaction", "batch"} {
		got := a.send(t, "POST", "/fhir", `{"resourceType":"Bundle","type":"`+kind+`","entry":[{"resource":{"resourceType":"Device"},"request":{"method":"POST","url":"Device?identifier=urn:s%7C2"}}]}`)
		if !strings.Contains(string(got.body), `"status":"200`) || !strings.Contains(string(got.body), "/fhir/Device/d") {
			t.Errorf("%s: %s", kind, got.body)
		}
	}
}
