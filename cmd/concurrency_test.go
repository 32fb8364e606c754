package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// browser is a client of a server in this process.
type browser struct {
	base string
	http *http.Client
}

func browse(t *testing.T) *browser {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}
	b := &browser{base: "http://" + serveHere(t, storeHere(t)) + "/fhir", http: c}
	t.Cleanup(c.CloseIdleConnections)
	return b
}

// do sends a request, with headers as "Name: value", and gives what is answered.
func (b *browser) do(method, target, body string, headers ...string) (status int, header http.Header, answer []byte, err error) {
	if !strings.HasPrefix(target, "http") {
		target = b.base + target
	}
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	got, err := b.http.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer got.Body.Close()
	answer, err = io.ReadAll(got.Body)
	return got.StatusCode, got.Header, answer, err
}

// walk follows a search to its end and gives the ids that it finds, with how often.
func (b *browser) walk(query string) (found map[string]int, err error) {
	found = map[string]int{}
	for next := "/Observation?" + query; next != ""; {
		status, _, body, err := b.do("GET", next, "")
		if err != nil {
			return nil, err
		}
		var page struct {
			Link  []struct{ Relation, URL string }
			Entry []struct{ Resource struct{ ID string } }
		}
		if status != 200 {
			return nil, fmt.Errorf("a page answers %d: %s", status, body)
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, err
		}
		for _, e := range page.Entry {
			found[e.Resource.ID]++
		}
		next = ""
		for _, l := range page.Link {
			if l.Relation == "next" {
				next = l.URL
			}
		}
	}
	return found, nil
}

// note is a small Observation of a patient, at a minute of 2026-05-01.
func note(id, patient string, minute int, text string) string {
	if id != "" {
		id = `"id":"` + id + `",`
	}
	return `{"resourceType":"Observation",` + id + `"status":"final","code":{"coding":[{"system":"https://hospital.example/codes","code":"note"}]},"subject":{"reference":"Patient/` + patient +
		`"},"effectiveDateTime":"` + time.Date(2026, 5, 1, 0, minute, 0, 0, time.UTC).Format(time.RFC3339) + `","valueString":"` + text + `"}`
}

// A client that turns pages while others create what matches before, between and behind
// them, delete some of it, and update what the client looks for, finds everything that
// was there and goes on to match once, also where an update moves it in the order.
// KILN_CONCURRENT_WRITES sets the number of writes.
func TestPagesHaveEveryMatchOnceWhileOthersWrite(t *testing.T) {
	writes := 2000
	if s := os.Getenv("KILN_CONCURRENT_WRITES"); s != "" {
		var err error
		if writes, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	const there, updated = 600, 200
	b := browse(t)
	var bundle strings.Builder
	bundle.WriteString(`{"resourceType":"Bundle","type":"transaction","entry":[`)
	for i := range there {
		if i > 0 {
			bundle.WriteByte(',')
		}
		id := "there-" + strconv.Itoa(i)
		fmt.Fprintf(&bundle, `{"resource":%s,"request":{"method":"PUT","url":"Observation/%s"}}`, note(id, "ada", 2*i, "before"), id)
	}
	bundle.WriteString(`]}`)
	if status, _, body, err := b.do("POST", "", bundle.String()); err != nil || status != 200 {
		t.Fatalf("%d %v %s", status, err, body)
	}

	var sent atomic.Int64
	var done atomic.Bool
	var writers, readers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			for {
				i := int(sent.Add(1))
				if i > writes {
					return
				}
				var status, want int
				var answer []byte
				var err error
				switch i % 8 {
				case 0, 1: // what matches, before, between and behind what was there
					status, _, answer, err = b.do("POST", "/Observation", note("", "ada", i%(2*there), "new"))
					want = 201
				case 2: // what was there, and goes on to match
					id := i / 8 % updated
					status, _, answer, err = b.do("PUT", "/Observation/there-"+strconv.Itoa(id), note("there-"+strconv.Itoa(id), "ada", 2*id, "update "+strconv.Itoa(i)))
					want = 200
				case 3: // what matches, and soon is gone
					id := "gone-" + strconv.Itoa(i)
					status, _, answer, err = b.do("PUT", "/Observation/"+id, note(id, "ada", i%(2*there), "gone"))
					if err == nil && status == 201 {
						status, _, answer, err = b.do("DELETE", "/Observation/"+id, "")
					}
					want = 204
				default: // what does not match
					status, _, answer, err = b.do("POST", "/Observation", note("", "bob", i%(2*there), "other"))
					want = 201
				}
				if err != nil || status != want {
					t.Errorf("a write answers %d: %v %s", status, err, answer)
					return
				}
			}
		})
	}
	for _, query := range []string{
		"patient=ada&_count=23",
		"patient=ada&code=note&_sort=-date&_count=23",
		"subject=Patient/ada&_sort=date&_count=23",
		"patient=ada&_sort=code,-date&_count=23",
		"patient=ada&_sort=_lastUpdated&_count=23",
		"patient=ada&_sort=-_lastUpdated&_count=23",
	} {
		readers.Go(func() {
			walks := 0
			for last := false; !last; walks++ {
				last = done.Load()
				found, err := b.walk(query)
				if err != nil {
					t.Error(err)
					return
				}
				missing, twice := 0, 0
				for i := range there {
					if found["there-"+strconv.Itoa(i)] == 0 {
						missing++
					}
				}
				for _, n := range found {
					if n > 1 {
						twice++
					}
				}
				if missing > 0 || twice > 0 {
					t.Errorf("%s: of %d that were there and match %d are missing, and %d of %d found are found twice", query, there, missing, twice, len(found))
					return
				}
			}
			t.Logf("%s: %d walks", query, walks)
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
}

// Of 64 that update the same version of a resource one gets it, and the others are told.
func TestOneOfManyUpdatesWithIfMatchIsDone(t *testing.T) {
	b := browse(t)
	if status, _, body, err := b.do("PUT", "/Observation/o", note("o", "ada", 0, "nobody")); err != nil || status != 201 {
		t.Fatalf("%d %v %s", status, err, body)
	}
	for round := 1; round <= 5; round++ {
		version := strconv.Itoa(round)
		var lock sync.Mutex
		var winners []string
		var clients sync.WaitGroup
		for i := range 64 {
			clients.Go(func() {
				text := fmt.Sprintf("round %d client %d", round, i)
				status, _, body, err := b.do("PUT", "/Observation/o", note("o", "ada", 0, text), `If-Match: W/"`+version+`"`)
				switch {
				case err != nil:
					t.Error(err)
				case status == 200:
					lock.Lock()
					defer lock.Unlock()
					winners = append(winners, text)
				case status != 412 && status != 409:
					t.Errorf("got %d: %s", status, body)
				}
			})
		}
		clients.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d updates of version %s were done, want 1", len(winners), version)
		}
		if _, _, body, err := b.do("GET", "/Observation/o", ""); err != nil || !bytes.Contains(body, []byte(`"`+winners[0]+`"`)) {
			t.Errorf("the update that was done is not there: %v %s", err, body)
		}
	}
}

// 64 that each add one to a number, and begin again when they are told that another was
// faster, add 64.
func TestReadersThatWriteBackWithIfMatchLoseNothing(t *testing.T) {
	b := browse(t)
	if status, _, body, err := b.do("PUT", "/Observation/o", note("o", "ada", 0, "0")); err != nil || status != 201 {
		t.Fatalf("%d %v %s", status, err, body)
	}
	var clients sync.WaitGroup
	for range 64 {
		clients.Go(func() {
			for {
				_, header, body, err := b.do("GET", "/Observation/o", "")
				var o struct{ ValueString string }
				if err == nil {
					err = json.Unmarshal(body, &o)
				}
				n, notNumber := strconv.Atoi(o.ValueString)
				if err != nil || notNumber != nil {
					t.Errorf("%v %v", err, notNumber)
					return
				}
				status, _, answer, err := b.do("PUT", "/Observation/o", note("o", "ada", 0, strconv.Itoa(n+1)), "If-Match: "+header.Get("ETag"))
				switch {
				case err == nil && status == 200:
					return
				case err != nil || status != 412 && status != 409:
					t.Errorf("got %d: %v %s", status, err, answer)
					return
				}
			}
		})
	}
	clients.Wait()
	if _, header, body, err := b.do("GET", "/Observation/o", ""); err != nil || header.Get("ETag") != `W/"65"` || !bytes.Contains(body, []byte(`"valueString":"64"`)) {
		t.Errorf("got %s %v %s", header.Get("ETag"), err, body)
	}
}

// Without If-Match the last one wins, and what it replaces is in the history: every update
// that was acknowledged, at the version that its ETag told, and nothing else.
func TestEveryAcknowledgedUpdateIsInTheHistory(t *testing.T) {
	b := browse(t)
	var lock sync.Mutex
	acknowledged := map[string]string{} // text by ETag
	var clients sync.WaitGroup
	for i := range 64 {
		clients.Go(func() {
			text := "client " + strconv.Itoa(i)
			status, header, body, err := b.do("PUT", "/Observation/o", note("o", "ada", 0, text))
			switch {
			case err != nil:
				t.Error(err)
			case status == 200 || status == 201:
				lock.Lock()
				defer lock.Unlock()
				tag := header.Get("ETag")
				if other, ok := acknowledged[tag]; ok {
					t.Errorf("%s and %s were both told that they are %s", other, text, tag)
				}
				acknowledged[tag] = text
			case status != 409 && status != 412:
				t.Errorf("got %d: %s", status, body)
			}
		})
	}
	clients.Wait()
	_, _, body, err := b.do("GET", "/Observation/o/_history?"+url.Values{"_count": {"1000"}}.Encode(), "")
	if err != nil {
		t.Fatal(err)
	}
	var history struct {
		Entry []struct {
			Resource struct{ ValueString string }
			Response struct{ Etag string }
		}
	}
	if err := json.Unmarshal(body, &history); err != nil {
		t.Fatal(err)
	}
	if len(history.Entry) != len(acknowledged) {
		t.Errorf("%d updates were acknowledged, the history has %d", len(acknowledged), len(history.Entry))
	}
	for _, e := range history.Entry {
		if acknowledged[e.Response.Etag] != e.Resource.ValueString {
			t.Errorf("version %s is of %q, acknowledged to %q", e.Response.Etag, e.Resource.ValueString, acknowledged[e.Response.Etag])
		}
	}
	if len(acknowledged) == 0 {
		t.Error("nothing was acknowledged")
	}
}
