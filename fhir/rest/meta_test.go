package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/store"
)

// metaJSON is the Meta that an operation returned, without what every version has.
func (a answer) metaJSON(t testing.TB) string {
	t.Helper()
	var p struct {
		ResourceType string
		Parameter    []struct {
			Name      string
			ValueMeta json.RawMessage
		}
	}
	a.decode(t, &p)
	if string(a.body) == `{"resourceType":"Parameters"}` {
		return "{}"
	}
	if p.ResourceType != "Parameters" || len(p.Parameter) != 1 || p.Parameter[0].Name != "return" {
		t.Fatalf("not what $meta returns: %s", a.body)
	}
	meta := string(p.Parameter[0].ValueMeta)
	if i := strings.Index(meta, `"lastUpdated":"`); i >= 0 {
		end := i + len(`"lastUpdated":"`)
		end += strings.IndexByte(meta[end:], '"') + 1
		meta = strings.NewReplacer(meta[i:end]+",", "", ","+meta[i:end], "").Replace(meta)
	}
	return meta
}

func withMeta(meta string) string {
	return `{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":` + meta + `}]}`
}

func tag(system, code string, more ...string) string {
	return fmt.Sprintf(`{"system":%q,"code":%q%s}`, "http://h.example/"+system, code, strings.Join(more, ""))
}

func TestMetaIsChanged(t *testing.T) {
	const usCore = `"http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"`
	for _, c := range []struct {
		name, stored, operation, sent, want string
		version                             string
	}{
		{"a tag is added", `{}`, "add", `{"tag":[` + tag("s", "a") + `]}`, `{"versionId":"2","tag":[` + tag("s", "a") + `]}`, "2"},
		{"behind those that are there", `{"tag":[` + tag("s", "a") + `]}`, "add", `{"tag":[` + tag("s", "b") + `]}`, `{"versionId":"2","tag":[` + tag("s", "a") + "," + tag("s", "b") + `]}`, "2"},
		{"one that is there makes no version", `{"tag":[` + tag("s", "a", `,"display":"A"`) + `]}`, "add", `{"tag":[` + tag("s", "a", `,"version":"2","display":"B"`) + `]}`, `{"versionId":"1","tag":[` + tag("s", "a", `,"display":"A"`) + `]}`, "1"},
		{"the same code of another system is another", `{"tag":[` + tag("s", "a") + `]}`, "add", `{"tag":[` + tag("z", "a") + `]}`, `{"versionId":"2","tag":[` + tag("s", "a") + "," + tag("z", "a") + `]}`, "2"},
		{"what is sent twice is added once", `{}`, "add", `{"security":[` + tag("s", "a") + "," + tag("s", "a") + `]}`, `{"versionId":"2","security":[` + tag("s", "a") + `]}`, "2"},
		{"all kinds at once", `{"source":"http://h.example/x"}`, "add", `{"profile":["http://h.example/p"],"tag":[` + tag("s", "t") + `],"security":[` + tag("s", "x") + `]}`, `{"versionId":"2","source":"http://h.example/x","profile":["http://h.example/p"],"security":[` + tag("s", "x") + `],"tag":[` + tag("s", "t") + `]}`, "2"},
		{"other parts of what is sent do not count", `{}`, "add", `{"versionId":"9","source":"http://h.example/y","tag":[` + tag("s", "a") + `]}`, `{"versionId":"2","tag":[` + tag("s", "a") + `]}`, "2"},
		{"a tag is deleted", `{"tag":[` + tag("s", "a", `,"display":"A"`) + "," + tag("s", "b") + `]}`, "delete", `{"tag":[` + tag("s", "a", `,"version":"7"`) + `]}`, `{"versionId":"2","tag":[` + tag("s", "b") + `]}`, "2"},
		{"the last one", `{"tag":[` + tag("s", "a") + `]}`, "delete", `{"tag":[` + tag("s", "a") + `]}`, `{"versionId":"2"}`, "2"},
		{"a security label is no tag", `{"security":[` + tag("s", "a") + `]}`, "delete", `{"tag":[` + tag("s", "a") + `]}`, `{"versionId":"1","security":[` + tag("s", "a") + `]}`, "1"},
		{"what is not there is no error", `{}`, "delete", `{"profile":["http://h.example/p"]}`, `{"versionId":"1"}`, "1"},
		{"a profile is known by its whole URL", `{"profile":["http://h.example/p|1"]}`, "delete", `{"profile":["http://h.example/p"]}`, `{"versionId":"1","profile":["http://h.example/p|1"]}`, "1"},
		{"what extends a profile goes with it", `{"profile":["http://h.example/p","http://h.example/q"],"_profile":[{"id":"x"},{"id":"y"}]}`, "delete", `{"profile":["http://h.example/p"]}`, `{"versionId":"2","profile":["http://h.example/q"],"_profile":[{"id":"y"}]}`, "2"},
		{"and stays beside the others", `{"profile":["http://h.example/p"],"_profile":[{"id":"x"}]}`, "add", `{"profile":["http://h.example/q"]}`, `{"versionId":"2","profile":["http://h.example/p","http://h.example/q"],"_profile":[{"id":"x"},null]}`, "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, rest.Options{})
			a.do(t, "PUT", "/fhir/Patient/p1", strings.Replace(`{"resourceType":"Patient","id":"p1","meta":`+c.stored+`,"active":true}`, `"meta":{},`, "", 1)).wantStatus(t, 201)
			do := a.do
			if strings.Contains(c.want, "null") {
				do = a.send // the oracle knows no null in a list of extensions
			}
			got := do(t, "POST", "/fhir/Patient/p1/$meta-"+c.operation, withMeta(c.sent)).wantStatus(t, 200)
			if meta := sortedMembers(t, got.metaJSON(t)); meta != sortedMembers(t, c.want) {
				t.Errorf("got %s, want %s", meta, c.want)
			}
			if tag := got.Header.Get("ETag"); tag != `W/"`+c.version+`"` {
				t.Errorf("ETag %s", tag)
			}
			read := do(t, "GET", "/fhir/Patient/p1/$meta", "").wantStatus(t, 200)
			if string(read.body) != string(got.body) {
				t.Errorf("$meta gives %s", read.body)
			}
			if body := string(do(t, "GET", "/fhir/Patient/p1", "").body); !strings.Contains(body, `"active":true`) {
				t.Errorf("the resource is %s", body)
			}
		})
	}
	t.Run("a profile that the resource does not keep is refused", func(t *testing.T) {
		a := newAPI(t, rest.Options{})
		a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
		a.do(t, "POST", "/fhir/Patient/p1/$meta-add", withMeta(`{"profile":[`+usCore+`]}`)).wantStatus(t, 422)
	})
}

// sortedMembers is JSON with its members in a fixed order.
func sortedMembers(t testing.TB, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestMetaOfVersions(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", `{"resourceType":"Patient","id":"p1","meta":{"tag":[`+tag("s", "old")+`]}}`).wantStatus(t, 201)
	a.do(t, "PUT", "/fhir/Patient/p1", `{"resourceType":"Patient","id":"p1","meta":{"tag":[`+tag("s", "new")+`]}}`).wantStatus(t, 200)
	if got := a.do(t, "GET", "/fhir/Patient/p1/_history/1/$meta", "").wantStatus(t, 200); !strings.Contains(string(got.body), `"old"`) {
		t.Errorf("%s", got.body)
	}
	added := withMeta(`{"tag":[` + tag("s", "more") + `]}`)
	a.do(t, "POST", "/fhir/Patient/p1/_history/1/$meta-add", added).wantStatus(t, 409)
	a.do(t, "POST", "/fhir/Patient/p1/_history/9/$meta-add", added).wantStatus(t, 404)
	a.do(t, "POST", "/fhir/Patient/p1/_history/2/$meta-add", added).wantStatus(t, 200)
	a.do(t, "POST", "/fhir/Patient/p1/_history/3/$meta-delete", added).wantStatus(t, 200)
	a.do(t, "POST", "/fhir/Patient/p1/$meta-add", added, `If-Match: W/"1"`).wantStatus(t, 412)
	a.do(t, "POST", "/fhir/Patient/p1/$meta-add", added, `If-Match: W/"4"`).wantStatus(t, 200)
	a.do(t, "DELETE", "/fhir/Patient/p1", "").wantStatus(t, 204)
	a.do(t, "GET", "/fhir/Patient/p1/$meta", "").wantStatus(t, 410)
	a.do(t, "POST", "/fhir/Patient/p1/$meta-add", added).wantStatus(t, 410)
	a.do(t, "POST", "/fhir/Patient/none/$meta-add", added).wantStatus(t, 404)
}

func TestMetaInUse(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", `{"resourceType":"Patient","id":"p1","meta":{"profile":["http://h.example/p"],"tag":[`+tag("s", "b")+","+tag("s", "a")+`]}}`).wantStatus(t, 201)
	a.do(t, "PUT", "/fhir/Patient/p2", `{"resourceType":"Patient","id":"p2","meta":{"tag":[`+tag("s", "a", `,"display":"A"`)+`]}}`).wantStatus(t, 201)
	a.do(t, "PUT", "/fhir/Patient/p3", `{"resourceType":"Patient","id":"p3"}`).wantStatus(t, 201)
	a.do(t, "PUT", "/fhir/Device/d1", `{"resourceType":"Device","id":"d1","meta":{"security":[`+tag("s", "x")+`]}}`).wantStatus(t, 201)
	ofPatients := `{"profile":["http://h.example/p"],"tag":[` + tag("s", "a", `,"display":"A"`) + "," + tag("s", "b") + `]}`
	for url, want := range map[string]string{
		"/fhir/Patient/$meta":     ofPatients,
		"/fhir/Device/$meta":      `{"security":[` + tag("s", "x") + `]}`,
		"/fhir/Observation/$meta": `{}`,
		"/fhir/$meta":             strings.Replace(ofPatients, `"tag"`, `"security":[`+tag("s", "x")+`],"tag"`, 1),
	} {
		if got := a.do(t, "GET", url, "").wantStatus(t, 200).metaJSON(t); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}

func TestMetaRefusals(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
	const add = "/fhir/Patient/p1/$meta-add"
	for _, c := range []struct {
		name, method, url, body string
		status                  int
	}{
		{"no body", "POST", add, "", 400},
		{"no Parameters", "POST", add, patient, 400},
		{"no meta", "POST", add, `{"resourceType":"Parameters"}`, 400},
		{"meta of another type", "POST", add, `{"resourceType":"Parameters","parameter":[{"name":"meta","valueString":"x"}]}`, 400},
		{"meta twice", "POST", add, `{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{}},{"name":"meta","valueMeta":{}}]}`, 400},
		{"another parameter", "POST", add, `{"resourceType":"Parameters","parameter":[{"name":"tag","valueMeta":{}}]}`, 400},
		{"two values", "POST", add, `{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{},"valueString":"x"}]}`, 400},
		{"a tag that is no Coding", "POST", add, withMeta(`{"tag":["x"]}`), 400},
		{"a tag with an element that is none", "POST", add, withMeta(`{"tag":[{"colour":"red"}]}`), 400},
		{"a profile that is no text", "POST", add, withMeta(`{"profile":[7]}`), 400},
		{"GET of what changes something", "GET", add, "", 405},
		{"a parameter of $meta", "GET", "/fhir/Patient/p1/$meta?x=1", "", 400},
		{"on a type", "POST", "/fhir/Patient/$meta-add", withMeta(`{}`), 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.do(t, c.method, c.url, c.body).wantStatus(t, c.status)
		})
	}
	if got := a.do(t, "GET", "/fhir/Patient/p1/_history", "").bundle(t); len(got.Entry) != 1 {
		t.Errorf("%d versions", len(got.Entry))
	}
}

// Nobody's tag is lost, whoever comes first.
func TestTagsThatAreAddedAtOnceAreAllThere(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
	var wg sync.WaitGroup
	added := make([]bool, 8)
	for i := range added {
		wg.Go(func() {
			got := a.send(t, "POST", "/fhir/Patient/p1/$meta-add", withMeta(`{"tag":[`+tag("s", fmt.Sprint("t", i))+`]}`))
			added[i] = got.StatusCode == 200
			if !added[i] && got.StatusCode != 409 {
				t.Errorf("%d: %s", got.StatusCode, got.body)
			}
		})
	}
	wg.Wait()
	meta := a.do(t, "GET", "/fhir/Patient/p1/$meta", "").metaJSON(t)
	for i, there := range added {
		if strings.Contains(meta, fmt.Sprintf(`"t%d"`, i)) != there {
			t.Errorf("tag %d: answered %t, but %s", i, there, meta)
		}
	}
}

// Adding and deleting is that of sets.
func TestLabelsAreSets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := newAPI(t, rest.Options{})
		a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
		var want []string
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			codes := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 3).Draw(rt, "codes")
			var tags []string
			for _, c := range codes {
				tags = append(tags, tag("s", c))
			}
			op := rapid.SampledFrom([]string{"add", "delete"}).Draw(rt, "operation")
			for _, c := range codes {
				if op == "delete" {
					want = slices.DeleteFunc(want, func(w string) bool { return w == c })
				} else if !slices.Contains(want, c) {
					want = append(want, c)
				}
			}
			a.do(t, "POST", "/fhir/Patient/p1/$meta-"+op, withMeta(`{"tag":[`+strings.Join(tags, ",")+`]}`)).wantStatus(t, 200)
		}
		var got struct {
			Meta struct{ Tag []struct{ Code string } }
		}
		a.do(t, "GET", "/fhir/Patient/p1", "").decode(t, &got)
		var codes []string
		for _, c := range got.Meta.Tag {
			codes = append(codes, c.Code)
		}
		if !slices.Equal(codes, want) {
			rt.Fatalf("got %v, want %v", codes, want)
		}
	})
}

// interrupted is a store in which another write comes before the first one.
type interrupted struct {
	store.Store
	once   *sync.Once
	before func()
}

func (i interrupted) Write(ctx context.Context, changes ...store.Change) ([]store.Result, error) {
	i.once.Do(i.before)
	return i.Store.Write(ctx, changes...)
}

func TestATagThatLosesARaceIsAddedToWhatTheOtherWrote(t *testing.T) {
	a := newAPI(t, rest.Options{})
	a.do(t, "PUT", "/fhir/Patient/p1", patient).wantStatus(t, 201)
	other := *a
	a.Handler = rest.New(interrupted{a.store, new(sync.Once), func() {
		other.do(t, "POST", "/fhir/Patient/p1/$meta-add", withMeta(`{"tag":[`+tag("s", "first")+`]}`)).wantStatus(t, 200)
	}}, rest.Options{Now: a.clock.Now})
	got := a.do(t, "POST", "/fhir/Patient/p1/$meta-add", withMeta(`{"tag":[`+tag("s", "second")+`]}`)).wantStatus(t, 200)
	if meta := got.metaJSON(t); !strings.Contains(meta, `"first"`) || !strings.Contains(meta, `"second"`) {
		t.Errorf("got %s", meta)
	}
}
