package ndjson

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/validate"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
)

func openStore(t *testing.T) *embedded.Store {
	t.Helper()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s, err := embedded.OpenMemory(&embedded.Options{Now: func() time.Time { now = now.Add(1234 * time.Millisecond); return now }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t *testing.T, s *embedded.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

var texts = []string{"", "Ünïcödé 体温 🌡", `quote " and \\ backslash`, `\u0000\u2028`, "http://a.example/?q=1&b=<2>"}

// write puts random histories into a store: several types, revivals, unicode, decimals.
func write(t *testing.T, s *embedded.Store, r *rand.Rand, changes int) {
	t.Helper()
	for range changes {
		key := fhir.Key{Type: []string{"Device", "Observation", "Patient", "Basic", "Bundle"}[r.IntN(5)], ID: fmt.Sprint(r.IntN(12))}
		c := store.Change{Key: key, Delete: r.IntN(4) == 0}
		if !c.Delete {
			size := 0
			if r.IntN(40) == 0 {
				size = 50_000
			}
			text, err := json.Marshal(texts[r.IntN(len(texts))] + strings.Repeat("x", size))
			if err != nil {
				t.Fatal(err)
			}
			c.JSON = fmt.Appendf(nil, `{"resourceType":%q,"meta":{"profile":["http://p.example"]},"extension":[{"url":"u","valueDecimal":%d.%03d0e-2},{"url":"v","valueString":%s}]}`, key.Type, r.IntN(100), r.IntN(1000), text)
		}
		if _, err := s.Write(context.Background(), c); err != nil {
			t.Fatal(err)
		}
	}
}

func keep(t *testing.T, s store.Journal, shelf string, n int) {
	t.Helper()
	for i := range n {
		if err := s.Keep(context.Background(), shelf, fmt.Sprintf("entry-%04d <&>", i), bytes.Repeat([]byte{0, '\n', byte(i), 0xFF}, i)); err != nil {
			t.Fatal(err)
		}
	}
}

var shelves = []string{"inbox", "quarantine"}

// small makes files of many frames and notes.
func small(c Compression) *ExportOptions {
	return &ExportOptions{Compression: c, Source: "here", Shelves: shelves, frame: 1500, step: 4000}
}

func mustExport(t *testing.T, s store.Archive, dir string, o *ExportOptions) *Exported {
	t.Helper()
	e, err := Export(context.Background(), s, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// files are the names and contents of a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range names {
		content, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[n.Name()] = string(content)
	}
	return all
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for name := range want {
		if got[name] != want[name] {
			t.Fatalf("%s differs: got %d bytes, want %d", name, len(got[name]), len(want[name]))
		}
	}
	t.Fatalf("got files %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
}

// rounds is how many random histories are tried.
func rounds() int {
	if os.Getenv("KILN_LONG") != "" {
		return 1000
	}
	return 9
}

var errBroken = errors.New("broken off")

// breaking is a store whose export breaks off after some versions.
type breaking struct {
	*embedded.Store
	left int
}

func (b *breaking) Export(ctx context.Context, after fhir.Key, each func(fhir.Resource) error) error {
	return b.Store.Export(ctx, after, func(v fhir.Resource) error {
		if b.left--; b.left < 0 {
			return errBroken
		}
		return each(v)
	})
}

// refusing is a store that adds a part of the versions before it breaks off.
type refusing struct {
	*embedded.Store
	left int
}

func (b *refusing) Import(ctx context.Context, versions []fhir.Resource) (int, error) {
	n := min(len(versions), b.left)
	b.left -= n
	added, err := b.Store.Import(ctx, versions[:n])
	if err == nil && n < len(versions) {
		err = errBroken
	}
	return added, err
}

func TestWhatIsExportedAndImportedIsTheSame(t *testing.T) {
	var resumed, imported int64 // lines that a later run did not do again
	for seed := range rounds() {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := compressions[seed%len(compressions)]
			random := rand.New(rand.NewPCG(uint64(seed), 0))
			dir, ctx := t.TempDir(), t.Context()
			at := func(name string) string { return filepath.Join(dir, name) }

			from := openStore(t)
			defer closeStore(t, from)
			write(t, from, random, 1+random.IntN(200))
			keep(t, from, "inbox", random.IntN(20))
			keep(t, from, "quarantine", random.IntN(30))
			first := mustExport(t, from, at("first"), small(c))
			want := files(t, at("first"))

			// Broken off at random points, with a piece of the next frame written.
			for broken := &(breaking{from, 0}); ; {
				broken.left = random.IntN(80)
				e, err := Export(ctx, broken, at("broken"), small(c))
				if err == nil {
					resumed += e.Resumed
					break
				}
				if !errors.Is(err, errBroken) {
					t.Fatal(err)
				}
				tear(t, at("broken"), random)
			}
			same(t, files(t, at("broken")), want)

			to := openStore(t)
			defer closeStore(t, to)
			o := &ImportOptions{Target: "there", State: at("state.json"), batch: 3000, step: 4000}
			var added int64
			for broken := (&refusing{to, 0}); ; {
				broken.left = random.IntN(150)
				i, err := Import(ctx, broken, at("first"), o)
				if err == nil || !errors.Is(err, errBroken) {
					if err != nil {
						t.Fatal(err)
					}
					added = i.Added + i.Present
					imported += i.Resumed
					if i.Equal != first.Resources().Lines || i.AddedEntries+i.PresentEntries != first.Entries().Lines {
						t.Fatalf("got %+v of %+v", i, first.Manifest)
					}
					break
				}
			}
			if added != first.Resources().Lines {
				t.Fatalf("got %d versions, want %d", added, first.Resources().Lines)
			}
			if _, err := os.Stat(o.State); !os.IsNotExist(err) {
				t.Fatalf("the state is left behind: %v", err)
			}
			mustExport(t, to, at("second"), small(c))
			same(t, files(t, at("second")), want)

			again, err := Import(ctx, to, at("second"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if again.Added != 0 || again.AddedEntries != 0 || again.Present != added {
				t.Fatalf("imported twice: got %+v", again)
			}
		})
	}
	if resumed == 0 || imported == 0 {
		t.Errorf("of exports %d lines were resumed, of imports %d", resumed, imported)
	}
}

// tear leaves of the export what a kill in the middle of writing would.
func tear(t *testing.T, dir string, random *rand.Rand) {
	t.Helper()
	var n note
	content, err := os.ReadFile(filepath.Join(dir, incompleteName))
	if err == nil {
		err = json.Unmarshal(content, &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	junk := bytes.Repeat([]byte(`{"resourceType":"Obs`), random.IntN(100))
	name := "Zebra.ndjson"
	if n.Sum != nil {
		name = n.Files[len(n.Files)-1].Name
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(junk)
		err = errors.Join(err, f.Close(), os.WriteFile(filepath.Join(dir, manifestName+temporary), junk, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// example is a store with a few versions.
func example(t *testing.T) *embedded.Store {
	t.Helper()
	s := openStore(t)
	t.Cleanup(func() { closeStore(t, s) })
	for _, c := range []store.Change{
		{Key: fhir.Key{Type: "Patient", ID: "b"}, JSON: []byte(`{"resourceType":"Patient","active":true}`)},
		{Key: fhir.Key{Type: "Patient", ID: "b"}, Delete: true},
		{Key: fhir.Key{Type: "Patient", ID: "b"}, JSON: []byte(`{"resourceType":"Patient","active":false}`)},
		{Key: fhir.Key{Type: "Patient", ID: "c"}, JSON: []byte(`{"resourceType":"Patient"}`)},
		{Key: fhir.Key{Type: "Device", ID: "d"}, JSON: []byte(`{"resourceType":"Device"}`)},
		{Key: fhir.Key{Type: "Device", ID: "d"}, Delete: true},
	} {
		if _, err := s.Write(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	keep(t, s, "quarantine", 2)
	return s
}

func TestAnExportIsWhatItsDocumentationSays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when needed")
	e := mustExport(t, example(t), dir, &ExportOptions{Shelves: shelves})
	all := files(t, dir)
	want := map[string]string{
		"Device.ndjson": `{"resourceType":"Device","id":"d","meta":{"versionId":"1","lastUpdated":"2026-05-01T12:00:07.404Z"}}
{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"DELETE","url":"Device/d"},"response":{"status":"204","etag":"W/\"2\"","lastModified":"2026-05-01T12:00:08.638Z"}}]}
`,
		"Patient.ndjson": `{"resourceType":"Patient","id":"b","meta":{"versionId":"1","lastUpdated":"2026-05-01T12:00:02.468Z"},"active":true}
{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"DELETE","url":"Patient/b"},"response":{"status":"204","etag":"W/\"2\"","lastModified":"2026-05-01T12:00:03.702Z"}}]}
{"resourceType":"Patient","id":"b","meta":{"versionId":"3","lastUpdated":"2026-05-01T12:00:04.936Z"},"active":false}
{"resourceType":"Patient","id":"c","meta":{"versionId":"1","lastUpdated":"2026-05-01T12:00:06.170Z"}}
`,
		"journal-quarantine.ndjson": `{"id":"entry-0000 \u003c\u0026\u003e","entry":""}
{"id":"entry-0001 \u003c\u0026\u003e","entry":"AAoB/w=="}
`,
	}
	if len(all) != len(want)+1 {
		t.Errorf("got files %v", slices.Sorted(maps.Keys(all)))
	}
	for name, content := range want {
		// The first second of the clock is not the same in every store.
		if name == "journal-quarantine.ndjson" && all[name] != content || shape(all[name]) != shape(content) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, all[name], content)
		}
	}
	if got, want := e.Resources(), (Counts{Lines: 6, Resources: 3, Versions: 4, Deletions: 2, Plain: int64(len(all["Device.ndjson"]) + len(all["Patient.ndjson"]))}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if e.Entries().Lines != 2 || e.Resumed != 0 {
		t.Errorf("got %+v", e)
	}
	var m Manifest
	if err := json.Unmarshal([]byte(all[manifestName]), &m); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if s := sha256.Sum256([]byte(all[f.Name])); f.SHA256 != hex.EncodeToString(s[:]) || f.Bytes != int64(len(all[f.Name])) {
			t.Errorf("%s: sum and size are not those of the manifest", f.Name)
		}
	}
}

// shape is a text without its times.
func shape(s string) string {
	var out []string
	for part := range strings.SplitSeq(s, "2026-05-01T") {
		if len(out) > 0 {
			part = part[len("12:00:00.000Z"):]
		}
		out = append(out, part)
	}
	return strings.Join(out, "TIME")
}

func TestTheLineOfADeletionIsAHistoryBundle(t *testing.T) {
	line, err := appendVersion(nil, fhir.Resource{Key: fhir.Key{Type: "Device", ID: "d", Version: "2"}, LastUpdated: time.UnixMilli(1777636800000), Deleted: true})
	if err != nil {
		t.Fatal(err)
	}
	if r := validate.Resource(line, nil); !r.Valid() {
		t.Errorf("%s\n%+v", line, r.Found)
	}
}

func TestCompressedFilesAreThePlainOnes(t *testing.T) {
	s := openStore(t)
	defer closeStore(t, s)
	write(t, s, rand.New(rand.NewPCG(1, 2)), 500)
	plain := t.TempDir()
	mustExport(t, s, plain, small(None))
	for c, read := range map[Compression]func(io.Reader) (io.Reader, error){
		Gzip: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		Zstd: func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	} {
		dir := t.TempDir()
		mustExport(t, s, dir, small(c))
		for name, want := range files(t, plain) {
			if name == manifestName {
				continue
			}
			r, err := read(strings.NewReader(files(t, dir)[name+c.extension()]))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != want {
				t.Errorf("%s of %s: got %d bytes, want %d: %v", c, name, len(got), len(want), err)
			}
		}
	}
}

func TestALongLineGoesThroughEveryCompression(t *testing.T) {
	s := openStore(t)
	defer closeStore(t, s)
	noise := make([]byte, 12<<20)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range noise {
		noise[i] = 'a' + byte(random.IntN(26))
	}
	if _, err := s.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Binary", ID: "b"}, JSON: fmt.Appendf(nil, `{"resourceType":"Binary","data":"%s"}`, noise)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range compressions {
		dir := t.TempDir()
		mustExport(t, s, dir, &ExportOptions{Compression: c})
		to := openStore(t)
		if i, err := Import(t.Context(), to, dir, nil); err != nil || i.Equal != 1 {
			t.Errorf("%s: %+v, %v", c, i, err)
		}
		closeStore(t, to)
	}
}

func TestAnEmptyStoreHasAnEmptyExport(t *testing.T) {
	s, to := openStore(t), openStore(t)
	defer closeStore(t, s)
	defer closeStore(t, to)
	dir := t.TempDir()
	mustExport(t, s, dir, &ExportOptions{Shelves: shelves})
	i, err := Import(t.Context(), to, dir, nil)
	if err != nil || i.Added != 0 || i.Equal != 0 {
		t.Errorf("got %+v, %v", i, err)
	}
}

func TestAnExportOverwritesNothing(t *testing.T) {
	s := example(t)
	for name, test := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    string
	}{
		"a complete export":  {func(t *testing.T, dir string) { mustExport(t, s, dir, nil) }, "the directory holds a complete export, which is never overwritten; fix: choose another directory"},
		"a foreign file":     {func(t *testing.T, dir string) { put(t, dir, "letter.txt", "x") }, "the directory is not empty, and what is there is no export that was broken off"},
		"a file of our name": {func(t *testing.T, dir string) { put(t, dir, "Patient.ndjson", "x") }, "the directory is not empty"},
		"a foreign file in a broken export": {func(t *testing.T, dir string) {
			breakOff(t, s, dir, 4)
			put(t, dir, "letter.txt", "x")
		}, "letter.txt: the file does not belong to the export that was broken off"},
		"a broken export of another store": {func(t *testing.T, dir string) {
			o := small(None)
			o.Source = "elsewhere"
			if _, err := Export(t.Context(), &breaking{s, 3}, dir, o); !errors.Is(err, errBroken) {
				t.Fatal(err)
			}
		}, "of another store, with another compression, or by another program"},
		"a broken export of a store of the same name": {func(t *testing.T, dir string) {
			other := openStore(t)
			defer closeStore(t, other)
			write(t, other, rand.New(rand.NewPCG(9, 9)), 300)
			breakOff(t, other, dir, 100)
		}, "of another store, or of an earlier state of this one"},
		"a broken export whose file was cut": {func(t *testing.T, dir string) {
			breakOff(t, s, dir, 4)
			put(t, dir, "Device.ndjson", "x")
		}, "Device.ndjson: the file of the export that was broken off has another size than it had"},
		"a broken export whose note is damaged": {func(t *testing.T, dir string) { put(t, dir, incompleteName, "{") }, "incomplete.json: it does not tell where"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.prepare(t, dir)
			before := files(t, dir)
			_, err := Export(t.Context(), s, dir, small(None))
			if _, ok := errors.AsType[*Fault](err); !ok || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			same(t, files(t, dir), before)
		})
	}
}

func breakOff(t *testing.T, s *embedded.Store, dir string, after int) {
	t.Helper()
	o := small(None)
	o.frame, o.step = 1, 1
	if _, err := Export(t.Context(), &breaking{s, after}, dir, o); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAnExportThatLacksItsEndAloneIsEnded(t *testing.T) {
	s, dir := example(t), t.TempDir()
	o := small(None)
	mustExport(t, s, dir, o)
	want := files(t, dir)
	put(t, dir, incompleteName, `{"format":1,"compression":"none","source":"here","files":null,"last":{},"before":{}}`)
	e := mustExport(t, s, dir, o)
	if e.Resumed != 8 {
		t.Errorf("got %d lines, want 8", e.Resumed)
	}
	same(t, files(t, dir), want)
}

func TestAnExportThatWasResumedAndWroteNothingCanBeResumed(t *testing.T) {
	s, want, dir := example(t), t.TempDir(), t.TempDir()
	o := small(None)
	o.frame, o.step = 1, 1
	mustExport(t, s, want, o)
	breakOff(t, s, dir, 5)
	for range 2 { // each ends its last file, and is killed before the manifest
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		w, _, err := begin(root, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.resources(t.Context(), s), w.finishFile(), w.writeNote(), w.release(), root.Close()); err != nil {
			t.Fatal(err)
		}
	}
	mustExport(t, s, dir, o)
	same(t, files(t, dir), files(t, want))
}

// seal writes the sums of files that were changed into the manifest, as who forges an export would.
func seal(t *testing.T, dir string) {
	t.Helper()
	var m Manifest
	all := files(t, dir)
	if err := json.Unmarshal([]byte(all[manifestName]), &m); err != nil {
		t.Fatal(err)
	}
	for i := range m.Files {
		f := &m.Files[i]
		s := sha256.Sum256([]byte(all[f.Name]))
		f.Bytes, f.SHA256 = int64(len(all[f.Name])), hex.EncodeToString(s[:])
	}
	content, err := json.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, manifestName, string(content))
}

func TestFaultsOfAnExportAreFoundWhereTheyAre(t *testing.T) {
	edit := func(name, old, now string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			content := files(t, dir)[name]
			if !strings.Contains(content, old) {
				t.Fatalf("%s lacks %q", name, old)
			}
			put(t, dir, name, strings.Replace(content, old, now, 1))
		}
	}
	sealed := func(change func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { change(t, dir); seal(t, dir) }
	}
	for name, test := range map[string]struct {
		change func(*testing.T, string)
		want   string
	}{
		"another value":               {edit("Patient.ndjson", "true}", "tru3}"), "Patient.ndjson: the file is not the one that was exported: its SHA-256 is another; fix: the export is damaged"},
		"another size":                {edit("Patient.ndjson", "true}", "false}"), "Patient.ndjson: it is not a file of 525 bytes, as the manifest says"},
		"a missing file":              {func(t *testing.T, dir string) { remove(t, dir, "Device.ndjson") }, "Device.ndjson: the file is missing"},
		"a file more":                 {func(t *testing.T, dir string) { put(t, dir, ".DS_Store", "x") }, ".DS_Store: the manifest does not list this file; fix: take it away"},
		"no manifest":                 {func(t *testing.T, dir string) { remove(t, dir, manifestName) }, "there is no manifest.json: this is no export"},
		"an incomplete export":        {func(t *testing.T, dir string) { remove(t, dir, manifestName); put(t, dir, incompleteName, "{}") }, "the export is not complete; fix: run the export into this directory again"},
		"a newer format":              {edit(manifestName, `"format": 1`, `"format": 2`), "manifest.json: the export has format 2, and this program reads up to 1; fix: use the program that wrote it"},
		"a manifest that is none":     {func(t *testing.T, dir string) { put(t, dir, manifestName, "[]") }, "manifest.json: it is not the manifest of an export"},
		"a manifest with a path":      {edit(manifestName, `"Device.ndjson"`, `"../Device.ndjson"`), "manifest.json: files[1]: the name of the file is not that of its type"},
		"numbers that contradict":     {edit(manifestName, `"deletions": 1`, `"deletions": 2`), "manifest.json: files[1]: the numbers of lines, versions and deletions contradict each other"},
		"syntax":                      {sealed(edit("Patient.ndjson", "true}", "tru3}")), "Patient.ndjson:1: column 114: not valid JSON"},
		"a name twice":                {sealed(edit("Patient.ndjson", `"active":true`, `"active":true,"active":true`)), "Patient.ndjson:1: column 116: a name occurs twice in one object"},
		"white space":                 {sealed(edit("Patient.ndjson", `"active":true`, `"active": true`)), "Patient.ndjson:1: the JSON is not compact"},
		"nesting":                     {sealed(edit("Patient.ndjson", `"active":true`, `"active":`+strings.Repeat("[", 70)+strings.Repeat("]", 70))), "Patient.ndjson:1: column 174: more than 64 levels of objects and arrays"},
		"another id further on":       {sealed(edit("Patient.ndjson", `"active":true`, `"id":"x"`)), "Patient.ndjson:1: column 102: a name occurs twice"},
		"a line of another type":      {sealed(edit("Patient.ndjson", `{"resourceType":"Patient"`, `{"resourceType":"Patience"`)), "Patient.ndjson:1: the resource is of another type than the file"},
		"a wrong order":               {sealed(edit("Patient.ndjson", `"versionId":"1"`, `"versionId":"3"`)), "Patient.ndjson:2: the line is not in the order of id and version"},
		"a version that is no number": {sealed(edit("Patient.ndjson", `"versionId":"1"`, `"versionId":"01"`)), "Patient.ndjson:1: the type, the id or the number of the version is none"},
		"a time that is none":         {sealed(edit("Patient.ndjson", `"lastUpdated":"2026`, `"lastUpdated":"26`)), "Patient.ndjson:1: the time of the version is not written as Kiln does"},
		"a line that is none":         {sealed(edit("Patient.ndjson", `{"resourceType":"Patient","id":"c"`, `{"id":"c","resourceType":"Patient"`)), "Patient.ndjson:4: it is no version of a resource as Kiln writes it"},
		"an empty line":               {sealed(edit("Patient.ndjson", "\n", "\n\n")), "Patient.ndjson:2: it is no version of a resource as Kiln writes it"},
		"a deletion with more":        {sealed(edit("Device.ndjson", `"204"`, `"204","x":1`)), "Device.ndjson:2: it is no version of a resource as Kiln writes it"},
		"a last line that is cut off": {sealed(func(t *testing.T, dir string) {
			put(t, dir, "Device.ndjson", strings.TrimSpace(files(t, dir)["Device.ndjson"]))
		}), "Device.ndjson:2: the last line is cut off"},
		"a line more": {sealed(func(t *testing.T, dir string) {
			put(t, dir, "Device.ndjson", strings.Repeat(files(t, dir)["Device.ndjson"], 2))
		}), "Device.ndjson:2: more lines than the manifest says"},
		"a line less": {sealed(func(t *testing.T, dir string) {
			put(t, dir, "Device.ndjson", strings.SplitAfter(files(t, dir)["Device.ndjson"], "\n")[0])
		}), "Device.ndjson: the numbers of lines, resources, versions and deletions are not those of the manifest"},
		"a gap":                          {sealed(edit("Patient.ndjson", `"versionId":"3"`, `"versionId":"4"`)), "Patient.ndjson: lines 1 to 4: embedded: import: "},
		"an entry that is none":          {sealed(edit("journal-quarantine.ndjson", `"id"`, `"Id"`)), "journal-quarantine.ndjson:1: it is no entry of a journal as Kiln writes it"},
		"an entry that is not in order":  {sealed(edit("journal-quarantine.ndjson", `entry-0000`, `entry-0002`)), "journal-quarantine.ndjson:2: the line is not in the order of id"},
		"base64 that is none":            {sealed(edit("journal-quarantine.ndjson", `==`, `=!`)), "journal-quarantine.ndjson:2: it is no entry"},
		"a link in place of a directory": {func(t *testing.T, dir string) { remove(t, dir, "Device.ndjson"); link(t, dir, "Device.ndjson") }, "Device.ndjson: it is not a file of"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustExport(t, example(t), dir, &ExportOptions{Shelves: shelves})
			test.change(t, dir)
			to := openStore(t)
			defer closeStore(t, to)
			_, err := Import(t.Context(), to, dir, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedCompressionIsAFault(t *testing.T) {
	for _, c := range []Compression{Gzip, Zstd} {
		dir := t.TempDir()
		mustExport(t, example(t), dir, small(c))
		name := "Patient.ndjson" + c.extension()
		content := []byte(files(t, dir)[name])
		content[len(content)/2] ^= 0x10
		put(t, dir, name, string(content))
		seal(t, dir)
		to := openStore(t)
		_, err := Import(t.Context(), to, dir, nil)
		if f, ok := errors.AsType[*Fault](err); !ok || f.File != name {
			t.Errorf("%s: got %v, want a fault of %s", c, err, name)
		}
		closeStore(t, to)
	}
}

func TestAnotherContentIsAConflictAtItsLine(t *testing.T) {
	dir := t.TempDir()
	mustExport(t, example(t), dir, &ExportOptions{Shelves: shelves})
	to := openStore(t)
	defer closeStore(t, to)
	if _, err := to.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Patient", ID: "c"}, JSON: []byte(`{"resourceType":"Patient","active":true}`)}); err != nil {
		t.Fatal(err)
	}
	_, err := Import(t.Context(), to, dir, nil)
	if want := "Patient.ndjson:4: the store has this version with other content; fix: import into a store that has nothing"; err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, store.ErrConflict) {
		t.Errorf("got %v, want %q", err, want)
	}
	keep(t, to, "quarantine", 1)
	if err := to.Keep(t.Context(), "quarantine", "entry-0001 <&>", []byte("x")); err != nil {
		t.Fatal(err)
	}
	_, err = Import(t.Context(), to, dir, nil)
	if want := "journal-quarantine.ndjson:2: the journal of the store has another entry of this id"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestWhatTheStoreHasBesidesStays(t *testing.T) {
	dir := t.TempDir()
	e := mustExport(t, example(t), dir, nil)
	to := openStore(t)
	defer closeStore(t, to)
	for _, id := range []string{"a", "z"} {
		if _, err := to.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Patient", ID: id}, JSON: []byte(`{"resourceType":"Patient"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	i, err := Import(t.Context(), to, dir, nil)
	if err != nil || i.Added != e.Resources().Lines || i.Equal != i.Added {
		t.Errorf("got %+v, %v", i, err)
	}
	if n := to.Stats().Resources["Patient"]; n != 4 {
		t.Errorf("got %d patients, want 4", n)
	}
}

// losing is a store that says it imported, and did not.
type losing struct{ *embedded.Store }

func (l losing) Import(ctx context.Context, versions []fhir.Resource) (int, error) {
	if _, err := l.Store.Import(ctx, versions[:len(versions)-1]); err != nil {
		return 0, err
	}
	return len(versions), nil
}

func TestAVersionThatTheStoreLostIsTold(t *testing.T) {
	dir := t.TempDir()
	mustExport(t, example(t), dir, nil)
	to := openStore(t)
	defer closeStore(t, to)
	_, err := Import(t.Context(), losing{to}, dir, nil)
	if want := "Device.ndjson:2: the store does not have this version after the import"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestAStateOfAStoreThatIsGoneIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t)
	defer closeStore(t, s)
	write(t, s, rand.New(rand.NewPCG(5, 6)), 300)
	e := mustExport(t, s, dir, nil)
	o := &ImportOptions{Target: "there", State: filepath.Join(t.TempDir(), "state.json"), batch: 2000, step: 2000}
	first := openStore(t)
	if _, err := Import(t.Context(), &refusing{first, 150}, dir, o); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	closeStore(t, first)
	second := openStore(t)
	defer closeStore(t, second)
	i, err := Import(t.Context(), second, dir, o)
	if err != nil || i.Resumed != 0 || i.Added != e.Resources().Lines {
		t.Errorf("got %+v, %v", i, err)
	}
}

func TestAnImportThatCannotRememberGoesOn(t *testing.T) {
	dir := t.TempDir()
	mustExport(t, example(t), dir, nil)
	to := openStore(t)
	defer closeStore(t, to)
	i, err := Import(t.Context(), to, dir, &ImportOptions{State: filepath.Join(dir, "nowhere", "state.json")})
	if err != nil || i.Unsaved == nil || i.Equal != 6 {
		t.Errorf("got %+v, %v", i, err)
	}
}

func TestAStoreInDisorderIsNotExported(t *testing.T) {
	key := fhir.Key{Type: "Patient", ID: "b", Version: "1"}
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	stamp := func(k fhir.Key) fhir.Resource {
		b, err := fhir.Stamp([]byte(`{"resourceType":"Patient"}`), k.Type, k.ID, k.Version, at)
		if err != nil {
			t.Fatal(err)
		}
		return fhir.Resource{Key: k, LastUpdated: at, JSON: b}
	}
	other := stamp(key)
	other.ID = "c"
	for name, test := range map[string]struct {
		all  versions
		want string
	}{
		"twice":      {versions{stamp(key), stamp(key)}, "the store gives its versions in no order: a Patient comes too late"},
		"another id": {versions{other}, "line 1 of Patient.ndjson: what the resource says of its type, id, version or time is not what the store says"},
		"no version": {versions{{Key: fhir.Key{Type: "Patient", ID: "b"}, Deleted: true}}, "the store names a resource whose type, id or version is none"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Export(t.Context(), test.all, t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// versions are a store that gives what it has as it is.
type versions []fhir.Resource

func (v versions) Export(_ context.Context, _ fhir.Key, each func(fhir.Resource) error) error {
	for _, r := range v {
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

func (v versions) Import(context.Context, []fhir.Resource) (int, error) {
	return 0, errors.New("not here")
}
