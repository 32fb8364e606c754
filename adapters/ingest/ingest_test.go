package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/ingest"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is an adapter of a made-up format: a header "pulse", then one line "serial wall-time
// pulse" for each reading. "boom" panics, "lose" forgets a row, "junk" is a row that needs attention.
type lines struct{}

func (lines) Manifest() adapters.Manifest {
	return adapters.Manifest{Name: "lines", Version: "1.0.0", MediaTypes: []string{"text/x-lines"}, Row: "line"}
}

func (lines) Detect(p adapters.Payload) bool { return bytes.HasPrefix(p.Body, []byte("pulse\n")) }

func (lines) Convert(p adapters.Payload) (adapters.Conversion, error) {
	var c adapters.Conversion
	body, ok := strings.CutPrefix(string(p.Body), "pulse\n")
	if !ok {
		return c, fhir.Errorf(fhir.CodeStructure, "line 1", "no header").WithFix("begin with pulse")
	}
	c.AddPatient(p.Source.Patient)
	for i, line := range strings.Split(strings.TrimSpace(body), "\n") {
		c.Rows++
		f := strings.Fields(line)
		switch {
		case f[0] == "boom":
			var none []string
			_ = none[len(f)]
		case f[0] == "lose":
			continue
		case f[0] == "junk":
			c.Skip(fhir.SevError, fhir.CodeValue, fmt.Sprintf("line %d", i+2), "mend it", "not a reading")
			continue
		}
		wall, err := time.Parse("2006-01-02T15:04:05", f[1])
		if err != nil {
			return c, fhir.Errorf(fhir.CodeValue, fmt.Sprintf("line %d", i+2), "no time")
		}
		at, err := when.InZone(wall, fhir.Second, p.Source.Zone)
		if err != nil {
			c.Skip(fhir.SevError, fhir.CodeValue, fmt.Sprintf("line %d", i+2), when.FixNoZone, "%v", err)
			continue
		}
		device := fhir.NewDevice(fhir.DeviceSpec{Manufacturer: "Lines", Serial: f[0]})
		c.AddDevice(device)
		c.Observations = append(c.Observations, fhir.Reading{
			Code: fhir.Concept("Pulse", fhir.Coding(fhir.LOINC, "8867-4", "")), Category: "vital-signs",
			Subject: fhir.Subject{Patient: p.Source.Patient, Device: device}, Device: device,
			At: at.DateTime(), Quantity: fhir.Quantity(f[2], "/min", "/min"), Same: []string{at.Key()},
		}.Observation())
		c.Mapped++
	}
	return c, nil
}

// faulty is a store that can be told to refuse writes.
type faulty struct {
	*embedded.Store
	refuse atomic.Bool
}

func (f *faulty) Write(ctx context.Context, changes ...store.Change) ([]store.Result, error) {
	if f.refuse.Load() {
		return nil, errors.New("the disk is full")
	}
	return f.Store.Write(ctx, changes...)
}

type world struct {
	*ingest.Pipeline
	store *faulty
	log   *bytes.Buffer
}

func newWorld(t *testing.T, sources map[string]adapters.Source) world {
	t.Helper()
	s, err := embedded.OpenMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	registry, err := adapters.NewRegistry(lines{})
	if err != nil {
		t.Fatal(err)
	}
	w := world{store: &faulty{Store: s}, log: &bytes.Buffer{}}
	w.Pipeline, err = ingest.New(ingest.Options{Store: w.store, Registry: registry, Sources: sources,
		Now:    func() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) },
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

const (
	good    = "pulse\nA1 2026-05-01T08:00:00 72.50\nA1 2026-05-01T08:05:00 71\n"
	patient = "http://hospital.example/mrn|secret-4711"
)

var berlin = ingest.Origin{Adapter: "lines", Zone: "Europe/Berlin", Patient: patient}

func (w world) accept(t *testing.T, from ingest.Origin, body string) ingest.Receipt {
	t.Helper()
	r, err := w.Accept(t.Context(), from, "", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// shelf lists what lies in the inbox or the quarantine.
func (w world) shelf(t *testing.T, name string) []string {
	t.Helper()
	ids, err := w.store.Entries(t.Context(), name, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func changes(r ingest.Receipt) (list []string) {
	for _, w := range r.Resources {
		kind, _, _ := strings.Cut(w.Reference, "/")
		list = append(list, kind+" "+w.Change)
	}
	return list
}

func TestAPayloadIsStoredWhole(t *testing.T) {
	w := newWorld(t, nil)
	r := w.accept(t, berlin, good)
	if got, want := fmt.Sprint(changes(r)), "[Patient created Device created Observation created Observation created]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if r.Rows != 2 || r.Mapped != 2 || r.Adapter != "lines" || r.Quarantine != "" {
		t.Errorf("got %+v", r)
	}
	for _, written := range r.Resources {
		kind, id, _ := strings.Cut(written.Reference, "/")
		stored, err := w.store.Read(t.Context(), fhir.Key{Type: kind, ID: id})
		if err != nil {
			t.Fatal(err)
		}
		if kind == "Observation" && !bytes.Contains(stored.JSON, []byte(`+02:00`)) {
			t.Errorf("the offset of Berlin in May is missing: %s", stored.JSON)
		}
	}
	if got := w.shelf(t, "inbox"); len(got) > 0 {
		t.Errorf("the inbox still holds %v", got)
	}
}

func TestTheSamePayloadTwiceChangesNothing(t *testing.T) {
	w := newWorld(t, nil)
	first := w.accept(t, berlin, good)
	again := w.accept(t, berlin, good)
	if got, want := fmt.Sprint(changes(again)), "[Device unchanged Observation unchanged Observation unchanged]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for i, written := range again.Resources {
		if before := first.Resources[i+1]; written.Reference != before.Reference || written.Version != before.Version {
			t.Errorf("%v became %v", before, written)
		}
	}
}

func TestAPayloadIsRecognisedByItsContent(t *testing.T) {
	w := newWorld(t, nil)
	if r := w.accept(t, ingest.Origin{Zone: "Europe/Berlin"}, good); r.Adapter != "lines" {
		t.Errorf("got adapter %q", r.Adapter)
	}
	_, err := w.Accept(t.Context(), ingest.Origin{}, "", []byte("what is this"))
	refused, ok := errors.AsType[*ingest.RefusedError](err)
	if !ok || !strings.Contains(err.Error(), "no adapter recognises the payload; fix: name the adapter, one of lines") {
		t.Fatalf("got %v", err)
	}
	if _, err := w.Replay(t.Context(), refused.Quarantine, ingest.Origin{Adapter: "lines"}); err == nil || !strings.Contains(err.Error(), "no header") {
		t.Errorf("a replay with the adapter named gives %v", err)
	}
}

func TestWhatCannotBeConvertedWaitsInQuarantineAndCanBeReplayed(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.Accept(t.Context(), ingest.Origin{Adapter: "lines", Patient: patient}, "", []byte(good)) // no zone
	refused, ok := errors.AsType[*ingest.RefusedError](err)
	if !ok || len(refused.Err.Issues) != 2 {
		t.Fatalf("got %v", err)
	}
	held, err := w.Quarantine(t.Context(), "", 10)
	if err != nil || len(held) != 1 || held[0].ID != refused.Quarantine || len(held[0].Issues) != 2 || held[0].Issues[0].Fix != when.FixNoZone {
		t.Fatalf("got %+v, %v", held, err)
	}
	body, _, err := w.Body(t.Context(), refused.Quarantine)
	if err != nil || string(body) != good {
		t.Fatalf("the payload is kept as %q, %v", body, err)
	}
	r, err := w.Replay(t.Context(), refused.Quarantine, ingest.Origin{Zone: "Europe/Berlin"})
	if err != nil || r.Mapped != 2 || r.Quarantine != "" {
		t.Fatalf("got %+v, %v", r, err)
	}
	if got := w.shelf(t, "quarantine"); len(got) > 0 {
		t.Errorf("the quarantine still holds %v", got)
	}
}

func TestGoodRowsAreStoredBesideBadOnes(t *testing.T) {
	w := newWorld(t, nil)
	r := w.accept(t, berlin, good+"junk\n")
	if r.Mapped != 2 || len(r.Skipped) != 1 || r.Skipped[0].Path != "line 4" || r.Quarantine == "" {
		t.Fatalf("got %+v", r)
	}
	if got := w.shelf(t, "inbox"); len(got) > 0 {
		t.Errorf("the inbox still holds %v", got)
	}
	if r, err := w.Replay(t.Context(), r.Quarantine, ingest.Origin{}); err != nil || r.Quarantine == "" {
		t.Errorf("a replay that mends nothing gives %+v, %v", r, err)
	}
	if got := w.shelf(t, "quarantine"); len(got) != 1 {
		t.Errorf("the quarantine holds %v", got)
	}
	if err := w.Discard(t.Context(), r.Quarantine); err != nil {
		t.Error(err)
	}
	if _, err := w.Held(t.Context(), r.Quarantine); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after a discard: %v", err)
	}
}

func TestAnAdapterThatBreaksLosesNothing(t *testing.T) {
	for name, body := range map[string]string{"by a panic": "pulse\nboom\n", "by losing a row": good + "lose\n"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			_, err := w.Accept(t.Context(), berlin, "", []byte(body))
			refused, ok := errors.AsType[*ingest.RefusedError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if kept, _, err := w.Body(t.Context(), refused.Quarantine); err != nil || string(kept) != body {
				t.Errorf("kept as %q, %v", kept, err)
			}
		})
	}
}

func TestWhatTheStoreRefusesIsStoredAtTheNextStart(t *testing.T) {
	w := newWorld(t, nil)
	w.store.refuse.Store(true)
	_, err := w.Accept(t.Context(), berlin, "", []byte(good))
	if err == nil {
		t.Fatal("acknowledged, but not stored")
	}
	if got := w.shelf(t, "inbox"); len(got) != 1 {
		t.Fatalf("the inbox holds %v", got)
	}
	w.store.refuse.Store(false)
	if n, err := w.Recover(t.Context()); n != 1 || err != nil {
		t.Fatalf("recovered %d, %v", n, err)
	}
	if got := w.shelf(t, "inbox"); len(got) > 0 {
		t.Errorf("the inbox still holds %v", got)
	}
	if got := fmt.Sprint(changes(w.accept(t, berlin, good))); got != "[Device unchanged Observation unchanged Observation unchanged]" {
		t.Errorf("sent again: %s", got)
	}
}

func TestASenderThatHangsUpDoesNotLeaveAPayloadHalfDone(t *testing.T) {
	w := newWorld(t, nil)
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	if _, err := w.Accept(ctx, berlin, "", []byte(good)); err == nil {
		return // taken in before anybody noticed
	}
	if inbox := w.shelf(t, "inbox"); len(inbox) > 0 {
		t.Errorf("not acknowledged, but the inbox holds %v", inbox)
	}
}

func TestReadingsGoToThePatientThatTheStoreKnows(t *testing.T) {
	w := newWorld(t, nil)
	known := `{"resourceType":"Patient","identifier":[{"system":"http://hospital.example/mrn","value":"secret-4711"}],"gender":"female"}`
	put := func(id string) {
		t.Helper()
		if _, err := w.store.Write(t.Context(), store.Change{Key: fhir.Key{Type: "Patient", ID: id}, JSON: []byte(known)}); err != nil {
			t.Fatal(err)
		}
	}
	put("ehr-1")
	r := w.accept(t, berlin, good)
	if got := fmt.Sprint(changes(r)); got != "[Device created Observation created Observation created]" {
		t.Errorf("got %s", got)
	}
	_, id, _ := strings.Cut(r.Resources[1].Reference, "/")
	o, err := w.store.Read(t.Context(), fhir.Key{Type: "Observation", ID: id})
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Subject struct{ Reference string } }
	if err := json.Unmarshal(o.JSON, &body); err != nil || body.Subject.Reference != "Patient/ehr-1" {
		t.Errorf("got subject %q, %v", body.Subject.Reference, err)
	}

	put("ehr-2") // a second patient of that identifier: nobody can tell whose reading it is
	_, err = w.Accept(t.Context(), berlin, "", []byte(strings.ReplaceAll(good, "08:", "09:")))
	if refused, ok := errors.AsType[*ingest.RefusedError](err); !ok || refused.Err.Issues[0].Code != fhir.CodeDuplicate {
		t.Errorf("got %v", err)
	}
}

func TestASourceOfTheConfigurationTellsZoneAndPatient(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	who, _ := fhir.ParseIdentifier(patient)
	w := newWorld(t, map[string]adapters.Source{"clinic": {Name: "clinic", Zone: zone, Patient: who}})
	r := w.accept(t, ingest.Origin{Source: "clinic"}, good)
	if len(r.Resources) != 4 || r.Mapped != 2 {
		t.Fatalf("got %+v", r)
	}
	_, id, _ := strings.Cut(r.Resources[2].Reference, "/")
	o, err := w.store.Read(t.Context(), fhir.Key{Type: "Observation", ID: id})
	if err != nil || !bytes.Contains(o.JSON, []byte("2026-05-01T08:00:00-04:00")) {
		t.Errorf("got %s, %v", o.JSON, err)
	}
}

func TestAnOriginThatMakesNoSenseKeepsNothing(t *testing.T) {
	for _, test := range []struct {
		name string
		from ingest.Origin
		want string
	}{
		{"no such adapter", ingest.Origin{Adapter: "nobody"}, "adapter: there is no adapter of that name; fix: use one of [lines], or POST /ingest to have it detected"},
		{"no such source", ingest.Origin{Source: "nowhere"}, "source: the configuration has no source of that name; fix: add it under sources: in the configuration, or state zone and patient directly"},
		{"no such zone", ingest.Origin{Zone: "Europe/Atlantis"}, `zone: "Europe/Atlantis" is no zone; want an IANA name such as Europe/Berlin, or an offset such as +02:00`},
		{"the zone of the server", ingest.Origin{Zone: "Local"}, "zone: a zone must be named; want an IANA name such as Europe/Berlin, or an offset such as +02:00"},
		{"a patient without system", ingest.Origin{Patient: "4711"}, `patient: want system|value, as in "http://hospital.example/mrn|12345"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			_, err := w.Accept(t.Context(), test.from, "", []byte(good))
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if got := append(w.shelf(t, "inbox"), w.shelf(t, "quarantine")...); len(got) > 0 {
				t.Errorf("kept %v", got)
			}
		})
	}
}

func TestTheLogHoldsNoPatientData(t *testing.T) {
	w := newWorld(t, nil)
	w.accept(t, berlin, good+"junk secret\n")
	_, _ = w.Accept(t.Context(), berlin, "", []byte("secret nonsense"))
	_, _ = w.Accept(t.Context(), berlin, "", []byte("pulse\nboom secret\n"))
	w.store.refuse.Store(true)
	_, _ = w.Accept(t.Context(), berlin, "", []byte(good))
	if log := w.log.String(); log == "" || strings.Contains(log, "secret") || strings.Contains(log, "72.5") {
		t.Errorf("the log says:\n%s", log)
	}
}
