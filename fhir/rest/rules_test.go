package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir/rest"
)

const httpSpec = "http://hl7.org/fhir/R4/http.html"

const (
	patient      = `{"resourceType":"Patient","id":"p1","active":true}`
	patientAgain = `{"resourceType":"Patient","id":"p1","active":false}`
)

// step is a request and what must come back. In headers and want, "Name: value".
type step struct {
	method, url, body string
	headers           []string
	after             time.Duration // the clock goes on before the request

	status int
	want   []string // headers of the response; "Name: " means there is none
	says   []string // parts of the body
}

// rules are sentences of the R4 RESTful API, each with the requests that show it.
var rules = []struct {
	rule, spec string
	steps      []step
}{
	{"read gives the resource with its version in ETag and its time in Last-Modified", httpSpec + "#read", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "GET", url: "/fhir/Patient/p1", status: 200,
			want: []string{`ETag: W/"1"`, "Last-Modified: Wed, 01 May 2024 12:00:00 GMT"},
			says: []string{`"id":"p1"`, `"versionId":"1"`, `"lastUpdated":"2024-05-01T12:00:00.100Z"`, `"active":true`}},
	}},
	{"read of what never was is 404", httpSpec + "#read", []step{
		{method: "GET", url: "/fhir/Patient/p1", status: 404, says: []string{`"code":"not-found"`}},
	}},
	{"read of what was deleted is 410 and tells the version that deleted it", httpSpec + "#read", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "DELETE", url: "/fhir/Patient/p1", status: 204},
		{method: "GET", url: "/fhir/Patient/p1", status: 410, want: []string{`ETag: W/"2"`}, says: []string{`"code":"deleted"`}},
		{method: "HEAD", url: "/fhir/Patient/p1", status: 410},
	}},
	{"an id that cannot be one is 404 on read and 400 on update", httpSpec + "#read", []step{
		{method: "GET", url: "/fhir/Patient/a_b", status: 404},
		{method: "GET", url: "/fhir/Patient/" + strings.Repeat("a", 65), status: 404},
		{method: "DELETE", url: "/fhir/Patient/a_b", status: 404},
		{method: "PUT", url: "/fhir/Patient/a_b", body: `{"resourceType":"Patient","id":"a_b"}`, status: 400, says: []string{"1 to 64"}},
	}},
	{"a resource type that is not served is 404 and says which are", httpSpec + "#Status-Codes", []step{
		{method: "GET", url: "/fhir/Encountre/1", status: 404, says: []string{`"code":"not-supported"`, "/fhir/metadata"}},
		{method: "GET", url: "/fhir/Encountre?status=planned", status: 404, says: []string{"/fhir/metadata"}},
		{method: "POST", url: "/fhir/Encountre", body: `{"resourceType":"Encountre"}`, status: 404},
		{method: "POST", url: "/fhir/Encountre/_search", status: 404},
		{method: "PUT", url: "/fhir/Encountre/1", body: `{"resourceType":"Encountre","id":"1"}`, status: 404},
		{method: "DELETE", url: "/fhir/Encountre/1", status: 404},
		{method: "GET", url: "/fhir/Encountre/1/_history", status: 404},
		{method: "GET", url: "/fhir/patient/p1", status: 404},
	}},
	{"HEAD is GET without the body", httpSpec + "#head", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "HEAD", url: "/fhir/Patient/p1", status: 200, want: []string{`ETag: W/"1"`, "Content-Type: application/fhir+json; charset=utf-8", "Content-Length: 116"}},
		{method: "HEAD", url: "/fhir/metadata", status: 200},
		{method: "HEAD", url: "/fhir/Patient?_id=p1", status: 200},
	}},

	{"conditional read with If-None-Match is 304 for the version that the client has", httpSpec + "#cread", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{`If-None-Match: W/"1"`}, status: 304, want: []string{`ETag: W/"1"`, "Content-Type: "}},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{`If-None-Match: "1"`}, status: 304},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{`If-None-Match: W/"7", W/"1"`}, status: 304},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{`If-None-Match: *`}, status: 304},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{`If-None-Match: W/"2"`}, status: 200},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, status: 200},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{`If-None-Match: W/"1"`}, status: 200, says: []string{`"active":false`}},
		{method: "HEAD", url: "/fhir/Patient/p1", headers: []string{`If-None-Match: W/"2"`}, status: 304},
	}},
	{"conditional read with If-Modified-Since is 304 for the time that the client has", httpSpec + "#cread", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{"If-Modified-Since: Wed, 01 May 2024 12:00:00 GMT"}, status: 304},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{"If-Modified-Since: Wed, 01 May 2024 12:00:05 GMT"}, status: 304},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{"If-Modified-Since: Wed, 01 May 2024 11:59:59 GMT"}, status: 200},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{"If-Modified-Since: yesterday"}, status: 200},
	}},
	{"If-Modified-Since does not hide a second write in the same second", "https://www.rfc-editor.org/rfc/rfc9110#section-8.8.2.2", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201, want: []string{"Last-Modified: Wed, 01 May 2024 12:00:00 GMT"}},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, after: 500 * time.Millisecond, status: 200, want: []string{"Last-Modified: Wed, 01 May 2024 12:00:00 GMT"}},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{"If-Modified-Since: Wed, 01 May 2024 12:00:00 GMT"}, status: 200, says: []string{`"active":false`}},
	}},
	{"If-None-Match wins over If-Modified-Since", "https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "GET", url: "/fhir/Patient/p1", headers: []string{`If-None-Match: W/"9"`, "If-Modified-Since: Wed, 01 May 2024 12:00:05 GMT"}, status: 200},
	}},

	{"vread gives each version as it was", httpSpec + "#vread", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, after: time.Minute, status: 200},
		{method: "GET", url: "/fhir/Patient/p1/_history/1", status: 200, want: []string{`ETag: W/"1"`}, says: []string{`"active":true`, `"versionId":"1"`}},
		{method: "GET", url: "/fhir/Patient/p1/_history/2", status: 200, want: []string{`ETag: W/"2"`, "Last-Modified: Wed, 01 May 2024 12:01:00 GMT"}, says: []string{`"active":false`}},
		{method: "GET", url: "/fhir/Patient/p1/_history/3", status: 404},
		{method: "GET", url: "/fhir/Patient/p1/_history/x_y", status: 404},
		{method: "GET", url: "/fhir/Patient/p2/_history/1", status: 404},
	}},
	{"vread works for earlier versions of a deleted resource, and is 410 for the deletion", httpSpec + "#vread", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "DELETE", url: "/fhir/Patient/p1", status: 204},
		{method: "GET", url: "/fhir/Patient/p1/_history/1", status: 200, says: []string{`"active":true`}},
		{method: "GET", url: "/fhir/Patient/p1/_history/2", status: 410},
	}},

	{"update of a new id creates it: 201 with Location", httpSpec + "#upsert", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201,
			want: []string{"Location: http://example.com/fhir/Patient/p1/_history/1", `ETag: W/"1"`, "Last-Modified: Wed, 01 May 2024 12:00:00 GMT"}},
	}},
	{"update makes the next version: 200 without Location", httpSpec + "#update", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, status: 200, want: []string{`ETag: W/"2"`, "Location: "}, says: []string{`"versionId":"2"`, `"active":false`}},
	}},
	{"update with what is there already makes no version", httpSpec + "#update", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, after: time.Minute, status: 200, want: []string{`ETag: W/"1"`, "Last-Modified: Wed, 01 May 2024 12:00:00 GMT"}},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Prefer: return=OperationOutcome"}, status: 200, says: []string{"no new version"}},
	}},
	{"update ignores versionId and lastUpdated of the client and keeps the rest of meta", httpSpec + "#update", []step{
		{method: "PUT", url: "/fhir/Patient/p1", status: 201,
			body: `{"resourceType":"Patient","id":"p1","meta":{"versionId":"77","lastUpdated":"1999-01-01T00:00:00Z","tag":[{"code":"t"}]}}`,
			says: []string{`"versionId":"1"`, `"lastUpdated":"2024-05-01T12:00:00.100Z"`, `"tag":[{"code":"t"}]`}},
	}},
	{"update without an id, or with another one than the URL, is 400", httpSpec + "#update", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: `{"resourceType":"Patient"}`, status: 400, says: []string{"Patient.id"}},
		{method: "PUT", url: "/fhir/Patient/p1", body: `{"resourceType":"Patient","id":"p2"}`, status: 400, says: []string{"Patient.id"}},
		{method: "PUT", url: "/fhir/Patient/p1", body: `{"resourceType":"Patient","id":"P1"}`, status: 400},
		{method: "GET", url: "/fhir/Patient/p1", status: 404},
	}},
	{"a resourceType that is not the type of the URL is 400", httpSpec + "#create", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: `{"resourceType":"Device","id":"p1"}`, status: 400, says: []string{"resourceType"}},
		{method: "POST", url: "/fhir/Patient", body: `{"resourceType":"Device"}`, status: 400, says: []string{"resourceType"}},
		{method: "POST", url: "/fhir/Patient", body: `{"id":"x"}`, status: 400, says: []string{"resourceType"}},
	}},
	{"update brings a deleted resource back as the next version", httpSpec + "#delete", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "DELETE", url: "/fhir/Patient/p1", status: 204},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201, want: []string{`ETag: W/"3"`, "Location: http://example.com/fhir/Patient/p1/_history/3"}},
		{method: "GET", url: "/fhir/Patient/p1", status: 200},
	}},

	{"If-Match lets an update of that version pass, and is 412 for another", httpSpec + "#concurrency", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{`If-Match: W/"1"`}, status: 200, want: []string{`ETag: W/"2"`}},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{`If-Match: W/"1"`}, status: 412, want: []string{`ETag: W/"2"`}, says: []string{`"code":"conflict"`}},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{`If-Match: "2"`}, status: 200},
	}},
	{"If-Match on what is not there is 412", httpSpec + "#concurrency", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{`If-Match: W/"1"`}, status: 412},
		{method: "DELETE", url: "/fhir/Patient/p1", headers: []string{`If-Match: W/"1"`}, status: 412},
		{method: "GET", url: "/fhir/Patient/p1", status: 404},
	}},
	{"a precondition that cannot be read is refused, not ignored", httpSpec + "#concurrency", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{"If-Match: 1"}, status: 400},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{"If-Match: *"}, status: 400},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{`If-Match: W/"1", W/"2"`}, status: 400},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{`If-Match: W/"1"`, `If-Match: W/"2"`}, status: 400},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{`If-None-Match: W/"1"`}, status: 400},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{`If-None-Match: *`, `If-Match: W/"1"`}, status: 400},
		{method: "DELETE", url: "/fhir/Patient/p1", headers: []string{"If-Match: nonsense"}, status: 400},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{"If-Unmodified-Since: Wed, 01 May 2024 12:00:00 GMT"}, status: 400},
		{method: "GET", url: "/fhir/Patient/p1", status: 200, want: []string{`ETag: W/"1"`}},
	}},
	{"If-None-Match: * creates, and is 412 where something is", "https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"If-None-Match: *"}, status: 201},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{"If-None-Match: *"}, status: 412},
	}},

	{"create gives its own id: 201 with Location, ETag and Last-Modified", httpSpec + "#create", []step{
		{method: "POST", url: "/fhir/Patient", body: `{"resourceType":"Patient","id":"mine","active":true}`, status: 201,
			want: []string{"Location: http://example.com/fhir/Patient/made-2/_history/1", `ETag: W/"1"`, "Last-Modified: Wed, 01 May 2024 12:00:00 GMT"},
			says: []string{`"id":"made-2"`}},
		{method: "GET", url: "/fhir/Patient/mine", status: 404},
		{method: "GET", url: "/fhir/Patient/made-2", status: 200},
	}},
	{"delete is 204 for what is there, what is gone and what never was", httpSpec + "#delete", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "DELETE", url: "/fhir/Patient/p1", status: 204, want: []string{`ETag: W/"2"`, "Content-Length: "}},
		{method: "DELETE", url: "/fhir/Patient/p1", status: 204},
		{method: "DELETE", url: "/fhir/Patient/p2", status: 204},
		{method: "GET", url: "/fhir/Patient/p2", status: 404},
	}},
	{"delete honours If-Match", httpSpec + "#concurrency", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "DELETE", url: "/fhir/Patient/p1", headers: []string{`If-Match: W/"2"`}, status: 412},
		{method: "DELETE", url: "/fhir/Patient/p1", headers: []string{`If-Match: W/"1"`}, status: 204},
	}},
	{"a deleted resource is in no search", httpSpec + "#delete", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "GET", url: "/fhir/Patient?_id=p1&_total=accurate", status: 200, says: []string{`"total":1`}},
		{method: "DELETE", url: "/fhir/Patient/p1", status: 204},
		{method: "GET", url: "/fhir/Patient?_id=p1&_total=accurate", status: 200, says: []string{`"total":0`}},
	}},

	{"Prefer: return=minimal gives no body", httpSpec + "#ops", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Prefer: return=minimal"}, status: 201,
			want: []string{"Content-Length: 0", "Content-Type: ", "Preference-Applied: return=minimal", `ETag: W/"1"`}},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{"Prefer: return=minimal"}, status: 200, want: []string{"Content-Length: 0"}},
		{method: "POST", url: "/fhir/Patient", body: patient, headers: []string{"Prefer: return=minimal"}, status: 201, want: []string{"Content-Length: 0"}},
	}},
	{"Prefer: return=representation gives the resource", httpSpec + "#ops", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Prefer: return=representation"}, status: 201,
			want: []string{"Preference-Applied: return=representation"}, says: []string{`"resourceType":"Patient"`}},
	}},
	{"Prefer: return=OperationOutcome gives one", httpSpec + "#ops", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Prefer: return=OperationOutcome"}, status: 201,
			want: []string{"Preference-Applied: return=OperationOutcome"}, says: []string{`"resourceType":"OperationOutcome"`, `"severity":"information"`}},
		{method: "DELETE", url: "/fhir/Patient/p1", headers: []string{"Prefer: return=OperationOutcome"}, status: 200, says: []string{`"resourceType":"OperationOutcome"`}},
	}},
	{"a preference that is not known is left aside", "https://www.rfc-editor.org/rfc/rfc7240#section-2", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Prefer: respond-async, return=everything"}, status: 201,
			want: []string{"Preference-Applied: "}, says: []string{`"resourceType":"Patient"`}},
		{method: "PUT", url: "/fhir/Patient/p1", body: patientAgain, headers: []string{`Prefer: wait=10; RETURN="minimal"`}, status: 200, want: []string{"Content-Length: 0"}},
	}},

	{"a method that is no use at a URL is 405", httpSpec + "#Status-Codes", []step{
		{method: "POST", url: "/fhir/Patient/p1", body: patient, status: 405},
		{method: "POST", url: "/fhir/metadata", body: patient, status: 405, want: []string{"Allow: GET, HEAD, OPTIONS"}},
		{method: "DELETE", url: "/fhir/Patient/p1/_history", status: 405, want: []string{"Allow: GET, HEAD, OPTIONS"}},
		{method: "DELETE", url: "/fhir/Patient/p1/_history/1", status: 405},
		{method: "GET", url: "/fhir/Patient/_search", status: 405, want: []string{"Allow: POST, OPTIONS"}},
	}},
	{"OPTIONS tells the methods", "https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7", []step{
		{method: "OPTIONS", url: "/fhir/Patient/p1", status: 204, want: []string{"Allow: GET, HEAD, PUT, PATCH, DELETE, OPTIONS", "Accept-Patch: application/json-patch+json, application/fhir+json, application/fhir+xml"}},
		{method: "OPTIONS", url: "/fhir/Patient", status: 204, want: []string{"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}},
		{method: "OPTIONS", url: "/fhir", status: 204, want: []string{"Allow: GET, HEAD, POST, OPTIONS"}},
		{method: "OPTIONS", url: "/fhir/metadata", status: 204, want: []string{"Allow: GET, HEAD, OPTIONS"}},
	}},
	{"search over all types is at the base URL", httpSpec + "#search", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "GET", url: "/fhir?_lastUpdated=gt2023", status: 200, says: []string{`"id":"p1"`}},
		{method: "GET", url: "/fhir/", status: 200, says: []string{`"id":"p1"`}},
		{method: "POST", url: "/fhir/_search", status: 200},
		{method: "GET", url: "/fhir/_search", status: 405},
	}},
	{"an operation that is not there is 404 at every level, with those that are", "http://hl7.org/fhir/R4/operations.html", []step{
		{method: "GET", url: "/fhir/$export", status: 404, says: []string{"$meta"}},
		{method: "POST", url: "/fhir/$convert", body: patient, status: 404},
		{method: "POST", url: "/fhir/$validate", body: patient, status: 404},
		{method: "GET", url: "/fhir/Patient/$lastn", status: 404, says: []string{"$validate, $meta", "on a resource", "$everything"}},
		{method: "GET", url: "/fhir/Patient/%24lastn", status: 404},
		{method: "OPTIONS", url: "/fhir/Patient/$lastn", status: 404},
		{method: "GET", url: "/fhir/Observation/$nonsense", status: 404, says: []string{"$lastn", "$stats"}},
		{method: "GET", url: "/fhir/Observation/o1/$everything", status: 404, says: []string{"$meta-add", "on the type", "$lastn"}},
		{method: "GET", url: "/fhir/Patient/$everything", status: 404, says: []string{"on a resource", "$everything"}},
		{method: "POST", url: "/fhir/Patient/$match", body: patient, status: 404},
		{method: "GET", url: "/fhir/Nonsense/$lastn", status: 404, says: []string{"metadata"}},
		{method: "GET", url: "/fhir/Patient/p1/_history/1/$nonsense", status: 404},
		{method: "DELETE", url: "/fhir/Patient/p1/$everything", status: 405},
	}},
	{"search in a compartment is at the URL of what it is of", httpSpec + "#vsearch", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, status: 201},
		{method: "GET", url: "/fhir/Patient/p1/Observation", status: 200},
		{method: "GET", url: "/fhir/Patient/p1/*", status: 200, says: []string{`"id":"p1"`}},
		{method: "GET", url: "/fhir/Encountre/1/Observation", status: 404},
	}},
	{"a URL that FHIR does not have is 404", httpSpec + "#Status-Codes", []step{
		{method: "GET", url: "/", status: 404},
		{method: "GET", url: "/Patient/p1", status: 404},
		{method: "HEAD", url: "/Patient/p1", status: 404, want: []string{"Content-Type: application/fhir+json; charset=utf-8"}},
		{method: "GET", url: "/fhir/Patient/p1/_history/1/x", status: 404},
		{method: "GET", url: "/fhir/Patient/p1/nonsense", status: 404},
		{method: "DELETE", url: "/fhir/Patient/p1/_search", status: 405},
		{method: "GET", url: "/fhir/Patient/p1/", status: 404, says: []string{"slash"}},
	}},
	{"a method that nobody knows is 501", "https://www.rfc-editor.org/rfc/rfc9110#section-15.6.2", []step{
		{method: "BREW", url: "/fhir/Patient/p1", status: 501},
	}},

	{"a body that is not said to be FHIR is 415", httpSpec + "#mime-type", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Type: "}, status: 415, want: []string{"Accept: application/fhir+json, application/json, application/fhir+xml, application/xml"}},
		{method: "PUT", url: "/fhir/Patient/p1", body: "<Patient/>", headers: []string{"Content-Type: ", "Content-Type: application/fhir+xml; fhirVersion=3.0"}, status: 415},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Type: ", "Content-Type: text/plain"}, status: 415},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Type: ", "Content-Type: application/fhir+json; charset=iso-8859-1"}, status: 415},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Type: ", "Content-Type: application/fhir+json; fhirVersion=3.0"}, status: 415},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Type: ", "Content-Type: ;;"}, status: 415},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Encoding: br"}, status: 415},
		{method: "POST", url: "/fhir/Patient", body: patient, headers: []string{"Content-Type: ", "Content-Type: application/x-www-form-urlencoded"}, status: 415},
		{method: "POST", url: "/fhir/Patient/_search", body: patient, status: 415, want: []string{"Accept: application/x-www-form-urlencoded"}},
		{method: "GET", url: "/fhir/Patient/p1", status: 404},
	}},
	{"the forms of JSON are accepted as the type of a body", httpSpec + "#mime-type", []step{
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Type: ", "Content-Type: application/json"}, status: 201},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Type: ", "Content-Type: APPLICATION/FHIR+JSON; Charset=UTF-8"}, status: 200},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Type: ", "Content-Type: application/fhir+json; fhirVersion=4.0"}, status: 200},
		{method: "PUT", url: "/fhir/Patient/p1", body: patient, headers: []string{"Content-Encoding: identity"}, status: 200},
	}},
	{"a body that is no FHIR JSON is 400 and says where", httpSpec + "#Status-Codes", []step{
		{method: "POST", url: "/fhir/Patient", body: "{\n  \"resourceType\": \"Patient\",\n  \"active\": tru\n}", status: 400, says: []string{"line 3 column"}},
		{method: "POST", url: "/fhir/Patient", body: `{"resourceType":"Patient","active":true,"active":false}`, status: 400, says: []string{"twice", "Patient.active"}},
		{method: "POST", url: "/fhir/Patient", body: `{"resourceType":"Patient"`, status: 400},
		{method: "POST", url: "/fhir/Patient", body: `{"resourceType":"Patient"} {}`, status: 400},
		{method: "POST", url: "/fhir/Patient", body: `[{"resourceType":"Patient"}]`, status: 400},
		{method: "POST", url: "/fhir/Patient", body: `{"resourceType":"Patient","name":[{"text":"` + "\xff" + `"}]}`, status: 400},
		{method: "POST", url: "/fhir/Patient", body: `{"resourceType":"Patient",` + strings.Repeat(`"extension":[{"url":"http://h.example/e",`, 40) + `"valueBoolean":true` + strings.Repeat(`}]`, 40) + `}`, status: 400, says: []string{"64 levels"}},
		{method: "POST", url: "/fhir/Patient", body: `{"resourceType":"Patient","meta":7}`, status: 400},
		{method: "POST", url: "/fhir/Patient", status: 400},
		{method: "PUT", url: "/fhir/Patient/p1", status: 400},
	}},
	{"a body that is too large is 413 and tells the limit", httpSpec + "#Status-Codes", []step{
		{method: "POST", url: "/fhir/Patient", body: `{"resourceType":"Patient","language":"` + strings.Repeat("x", 5000) + `"}`, status: 413, says: []string{"4096 bytes"}},
		{method: "PUT", url: "/fhir/Patient/p1", body: `{"resourceType":"Patient","id":"p1","language":"` + strings.Repeat("x", 5000) + `"}`, status: 413},
	}},
	{"a query that is too long is 414 and points to POST", "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.15", []step{
		{method: "GET", url: "/fhir/Patient?_id=" + strings.Repeat("a", 33<<10), status: 414, says: []string{"_search"}},
	}},
}

func TestRulesOfTheRESTfulAPI(t *testing.T) {
	for _, r := range rules {
		t.Run(r.rule, func(t *testing.T) {
			made := 0
			a := newAPI(t, rest.Options{MaxBody: 4096, NewID: func() string { made++; return fmt.Sprintf("made-%d", made) }})
			play(t, a, r.spec, r.steps)
		})
	}
}

func TestDecimalsComeBackAsTheyWereSent(t *testing.T) {
	a := newAPI(t, rest.Options{})
	for i, value := range []string{"72.50", "72.5", "72", "1e2", "0.00000000000000000001", "123456789012345678901234567890.0", "-0.0", "1E-07"} {
		id := fmt.Sprintf("d%d", i)
		a.do(t, "PUT", "/fhir/Observation/"+id, heartRate(id, "Patient/p1", "2024-05-01T10:00:00+02:00", value)).wantStatus(t, http.StatusCreated)
		for _, url := range []string{"/fhir/Observation/" + id, "/fhir/Observation/" + id + "/_history/1", "/fhir/Observation?_id=" + id, "/fhir/Observation/" + id + "/_history"} {
			if got := a.do(t, "GET", url, "").wantStatus(t, http.StatusOK); !strings.Contains(string(got.body), `"valueQuantity":{"value":`+value+`,`) {
				t.Errorf("%s: %s is not there: %s", url, value, got.body)
			}
		}
		if got := a.do(t, "GET", "/fhir/Observation/"+id+"?_pretty=true", ""); !strings.Contains(string(got.body), `"value": `+value+`,`) {
			t.Errorf("pretty: %s is not there: %s", value, got.body)
		}
	}
}

func TestPrettyChangesNothingButWhiteSpace(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient)
	pretty := a.do(t, "GET", "/fhir/Patient/p1?_pretty=true", "").wantStatus(t, 200)
	want := "{\n  \"resourceType\": \"Patient\",\n  \"id\": \"p1\",\n  \"meta\": {\n    \"versionId\": \"1\",\n    \"lastUpdated\": \"2024-05-01T12:00:00.100Z\"\n  },\n  \"active\": true\n}\n"
	if got := string(pretty.body); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	plain := a.do(t, "GET", "/fhir/Patient/p1?_pretty=false", "")
	if strings.Contains(string(plain.body), "\n") {
		t.Errorf("not plain: %s", plain.body)
	}
}
