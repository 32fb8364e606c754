package rest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

const specEverything = "http://hl7.org/fhir/R4/patient-operation-everything.html"

// everythingOf are the resource types with $everything. That of Device is ours.
func everythingOf() map[string]string {
	return map[string]string{
		"Patient":   defined + "Patient-everything",
		"Encounter": defined + "Encounter-everything",
		"Device":    fhir.Namespace + "OperationDefinition/Device-everything",
	}
}

// Limits of a page of $everything, and of what its resources refer to.
const (
	maxEverything = 10_000
	maxReferred   = 10_000
)

// everything answers $everything of a Patient, an Encounter or a Device: the resource, what is
// in its compartment, and what these refer to, each once. First comes the resource, then its
// compartment by type and id, then, as included, what is referred to, by type and id.
//
// What is referred to is followed on, as from a DeviceMetric to its Device, unless it is about a
// Patient. Of a Patient, and of an Encounter, no other Patient is shown, nor what is about
// another one, unless the resource itself refers to that Patient.
//
// http://hl7.org/fhir/R4/patient-operation-everything.html
func (s *server) everything(x *exchange) (reply, error) {
	w, err := s.everythingWanted(x)
	if err != nil {
		return reply{}, err
	}
	focus, err := s.store.Read(x.Context(), w.focus)
	if err != nil {
		return reply{}, err
	}
	w.allow(focus)
	p := everythingPage{wanted: w, place: w.after}
	if err := s.compartmentPage(x.Context(), &p, focus); err != nil {
		return reply{}, err
	}
	if !p.full {
		if err := s.referredPage(x.Context(), &p, focus); err != nil {
			return reply{}, err
		}
	}
	return x.page(p.bundle()), nil
}

// everythingWanted is what $everything is asked.
type everythingWanted struct {
	base       string
	focus      fhir.Key
	start, end string
	since      time.Time
	types      []string // nil is all
	count      int
	after      everythingPlace
	used       []search.Pair // but for the cursor

	// patients are those that may be shown, nil is any.
	patients map[string]bool
}

// everythingPlace is a place in the order of $everything, behind a resource. The zero value is
// its beginning.
type everythingPlace struct {
	referred bool // the resource is not of the compartment
	key      fhir.Key
}

func (s *server) everythingWanted(x *exchange) (*everythingWanted, error) {
	args, err := s.arguments(x)
	if err != nil {
		return nil, err
	}
	w := &everythingWanted{base: x.base, focus: fhir.Key{Type: x.key.Type, ID: x.key.ID}, count: maxEverything}
	known := "start, end, _since, _type and _count"
	if x.key.Type == "Encounter" {
		known = "_since, _type and _count"
	}
	cursor := ""
	var given []string
	for _, a := range args {
		if a.name != "_type" && slices.Contains(given, a.name) {
			return nil, twice(a.name, specEverything)
		}
		if a.json != nil {
			return nil, unknownArgument(known, specEverything)
		}
		given = append(given, a.name)
		switch {
		case a.name == search.CursorParam:
			cursor = a.text
			continue
		case (a.name == "start" || a.name == "end") && x.key.Type != "Encounter":
			if _, err := s.careDates("Observation", a); err != nil {
				return nil, err
			}
			if a.name == "start" {
				w.start = a.text
			} else {
				w.end = a.text
			}
		case a.name == "_since":
			// A + that was not percent-encoded has become a blank.
			if w.since, err = time.Parse(time.RFC3339Nano, strings.ReplaceAll(a.text, " ", "+")); err != nil {
				return nil, badParameter("_since", "an instant, as in 2024-05-01T10:00:00Z")
			}
		case a.name == "_count":
			if w.count, err = positive(a); err != nil {
				return nil, err
			}
			w.count = min(w.count, maxEverything)
			a.text = strconv.Itoa(w.count)
		case a.name == "_type":
			for name := range strings.SplitSeq(a.text, ",") {
				if name = strings.TrimSpace(name); !slices.Contains(s.types, name) {
					return nil, badParameter("_type", "a list of resource types, as in Observation,Device")
				}
				w.types = append(w.types, name)
			}
		default:
			return nil, unknownArgument(known, specEverything)
		}
		w.used = append(w.used, search.Pair{Name: a.name, Value: a.text})
	}
	for _, p := range x.query {
		if (p.Name == "_format" || p.Name == "_pretty") && p.Value != "" {
			w.used = append(w.used, p)
		}
	}
	if cursor != "" {
		w.after, err = w.place(cursor)
	}
	return w, err
}

// careDates are the conditions on resources of a type that start and end ask for. What has no
// date of care, or of which R4 knows none, is always meant.
func (s *server) careDates(resourceType string, args ...argument) ([]search.Clause, error) {
	name := "date"
	switch resourceType {
	case "MedicationAdministration":
		name = "effective-time"
	case "MedicationStatement":
		name = "effective"
	case "ImagingStudy":
		name = "started"
	case "ServiceRequest":
		name = "occurrence"
	}
	if p, ok := s.parameters().Lookup(resourceType, name); !ok || p.Type != search.DateParam {
		return nil, nil
	}
	var all []search.Clause
	for _, a := range args {
		q, _, err := s.parameters().Parse(resourceType, []search.Pair{
			{Name: name, Value: string(search.EQ) + a.text}, {Name: name + ":missing", Value: "true"},
		}, search.Options{Handling: search.Strict, Now: s.Now()})
		if err != nil || len(q.Where[0].Values) != 1 {
			return nil, badParameter(a.name, "a date, as in 2024-05-01")
		}
		// Care that overlaps with the range is meant: it ends after its start, and begins before its end.
		if v := &q.Where[0].Values[0]; a.name == "start" {
			v.Prefix, v.To = search.GT, v.From
		} else {
			v.Prefix, v.From = search.LT, v.To
		}
		all = append(all, search.Clause{Any: q.Where})
	}
	return all, nil
}

// allow finds the Patients that may be shown.
func (w *everythingWanted) allow(focus fhir.Resource) {
	if focus.Type == "Device" {
		return
	}
	w.patients = map[string]bool{}
	if focus.Type == "Patient" {
		w.patients[focus.ID] = true
	}
	for _, key := range w.references(focus.JSON) {
		if key.Type == "Patient" {
			w.patients[key.ID] = true
		}
	}
}

// binding ties cursors to what was asked.
func (w *everythingWanted) binding() string {
	return fhir.HashID("everything", w.focus.Type, w.focus.ID, w.start, w.end, w.since.UTC().String(), strings.Join(w.types, ","))[:8]
}

func (w *everythingWanted) cursor(p everythingPlace) string {
	part := "c"
	if p.referred {
		part = "r"
	}
	return base64.RawURLEncoding.EncodeToString([]byte(w.binding() + part + p.key.String()))
}

func (w *everythingWanted) place(cursor string) (p everythingPlace, err error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	rest, ok := strings.CutPrefix(string(text), w.binding())
	var isKey bool
	if err == nil && ok && rest != "" {
		p.referred = rest[0] == 'r'
		p.key, isKey = keyOf(rest[1:])
	}
	if !isKey {
		return p, refuse(http.StatusBadRequest, fhir.CodeValue, search.CursorParam+" is not of a page of this answer").
			fix("follow the next link of a page as it is, or begin again without " + search.CursorParam).spec(specEverything)
	}
	return p, nil
}

// keyOf reads Type/id, with or without a version, which is left out.
func keyOf(reference string) (fhir.Key, bool) {
	reference, _, _ = strings.Cut(reference, "/_history/")
	t, id, ok := strings.Cut(reference, "/")
	return fhir.Key{Type: t, ID: id}, ok && fhir.ValidID(id) && definitions.IsResource(t)
}

// everythingPage is a page in the making.
type everythingPage struct {
	wanted  *everythingWanted
	entries []entry
	matches int
	bytes   int
	place   everythingPlace // up to which all is told
	full    bool            // there is more behind it
	notes   []fhir.Issue

	members  map[fhir.Key]bool // of the compartment, as far as they were seen
	referred map[fhir.Key]bool
	read     int
}

// take adds a resource to the page if it is wanted. It is false if the page is full without it.
func (p *everythingPage) take(r fhir.Resource, referred bool) bool {
	key := fhir.Key{Type: r.Type, ID: r.ID}
	w := p.wanted
	if !r.LastUpdated.Before(w.since) && (w.types == nil || slices.Contains(w.types, r.Type)) {
		if len(p.entries) == w.count || p.bytes > maxAnswer {
			p.full = true
			return false
		}
		e := entry{fullURL: w.base + "/" + key.String(), resource: r, mode: "match"}
		if referred {
			e.mode = "include"
		} else {
			p.matches++
		}
		p.entries = append(p.entries, e)
		p.bytes += len(r.JSON)
	}
	p.place = everythingPlace{referred, key}
	return true
}

// note remembers what a member of the compartment refers to. It is false if there is too much.
func (p *everythingPage) note(r fhir.Resource) bool {
	if p.members == nil {
		p.members, p.referred = map[fhir.Key]bool{}, map[fhir.Key]bool{}
	}
	p.members[fhir.Key{Type: r.Type, ID: r.ID}] = true
	for _, key := range p.wanted.references(r.JSON) {
		if len(p.referred) == maxReferred || len(p.members) > maxRead {
			return false
		}
		p.referred[key] = true
	}
	return true
}

func (p *everythingPage) bundle() bundle {
	w := p.wanted
	self := w.base + "/" + w.focus.String() + "/$everything"
	b := bundle{kind: "searchset", total: -1, self: link(self, w.used), entries: p.entries}
	if w.after != (everythingPlace{}) {
		b.self = link(self, append(slices.Clone(w.used), search.Pair{Name: search.CursorParam, Value: w.cursor(w.after)}))
	}
	switch {
	case p.full:
		b.next = link(self, append(slices.Clone(w.used), search.Pair{Name: search.CursorParam, Value: w.cursor(p.place)}))
	case w.after == (everythingPlace{}):
		b.total = p.matches
	}
	if len(p.notes) > 0 {
		b.outcome = fhir.OperationOutcome(p.notes...)
	}
	return b
}

// compartmentPage goes on through the resource and its compartment until the page is full.
func (s *server) compartmentPage(ctx context.Context, p *everythingPage, focus fhir.Resource) error {
	w := p.wanted
	if w.after.referred {
		return nil
	}
	if w.after.key == (fhir.Key{}) {
		p.note(focus)
		p.take(focus, false)
	}
	return s.members(ctx, w, w.after.key, min(w.count+1, search.MaxCount), func(r fhir.Resource) bool {
		if p.read++; p.read > maxRead {
			p.full = true
			return false
		}
		p.note(r)
		return p.take(r, false)
	})
}

// members gives the members of the compartment that follow a place, but for the resource
// whose it is, until found returns false. It asks for so many at once.
func (s *server) members(ctx context.Context, w *everythingWanted, after fhir.Key, count int, found func(fhir.Resource) bool) error {
	if after == w.focus {
		after = fhir.Key{}
	}
	var dates []argument
	for _, a := range []argument{{name: "start", text: w.start}, {name: "end", text: w.end}} {
		if a.text != "" {
			dates = append(dates, a)
		}
	}
	for _, t := range s.compartmentTypes(w.focus.Type) {
		if after != (fhir.Key{}) && t != after.Type {
			continue
		}
		in, ok := s.parameters().InCompartment(t, w.focus.Type, w.focus.ID)
		if !ok {
			continue
		}
		care, err := s.careDates(t, dates...)
		if err != nil {
			return err
		}
		q := search.Query{Type: t, Where: append(care, in), Sort: []search.Sort{{Param: "_id", Type: search.TokenParam}},
			Count: count, Total: search.TotalNone}
		if after != (fhir.Key{}) {
			q.After = &search.Cursor{ID: after.ID}
		}
		after = fhir.Key{}
		for {
			page, err := s.store.Search(ctx, q)
			if err != nil {
				return err
			}
			for _, r := range page.Resources {
				if (r.Type != w.focus.Type || r.ID != w.focus.ID) && !found(r) {
					return nil
				}
			}
			if page.Next == nil {
				break
			}
			q.After = page.Next
		}
	}
	return nil
}

// compartmentTypes are the types of resources in a compartment, in the order of $everything.
func (s *server) compartmentTypes(of string) []string {
	types, _ := definitions.Compartment(of)
	all := []string{of}
	for _, t := range slices.Sorted(maps.Keys(types)) {
		if t != of && slices.Contains(s.types, t) {
			all = append(all, t)
		}
	}
	return all
}

// referredPage adds what the compartment refers to and does not have.
func (s *server) referredPage(ctx context.Context, p *everythingPage, focus fhir.Resource) error {
	w := p.wanted
	whole := true
	if w.after.key != (fhir.Key{}) { // what earlier pages had is read again
		whole = p.note(focus)
		err := s.members(ctx, w, fhir.Key{}, search.MaxCount, func(r fhir.Resource) bool {
			if whole = p.note(r); !whole {
				return false
			}
			return w.after.referred || fhir.Key{Type: r.Type, ID: r.ID} != w.after.key
		})
		if err != nil {
			return err
		}
	}
	all, followed, err := s.follow(ctx, p)
	if err != nil {
		return err
	}
	if !whole || !followed || len(p.referred) >= maxReferred {
		p.notes = append(p.notes, fhir.Issue{Severity: fhir.Warning, Code: fhir.CodeTooCostly,
			Message: fmt.Sprintf("some of what the resources refer to is left out: there is more than %d of it, or more than %d resources refer to it", maxReferred, maxRead),
			Fix:     "ask for a part with start and end, or read what is missing by its URL", Spec: specEverything})
	}
	for _, r := range all {
		if w.after.referred && compareKeys(r.Key, w.after.key) <= 0 {
			continue
		}
		if !p.take(r, true) {
			return nil
		}
	}
	return nil
}

func compareKeys(a, b fhir.Key) int {
	if n := strings.Compare(a.Type, b.Type); n != 0 {
		return n
	}
	return strings.Compare(a.ID, b.ID)
}

// follow reads what is referred to, and what that refers to in turn unless it is about a
// Patient. It is false if that is not all.
func (s *server) follow(ctx context.Context, p *everythingPage) (all []fhir.Resource, whole bool, err error) {
	ofPatients, _ := definitions.Compartment("Patient")
	queue := slices.SortedFunc(maps.Keys(p.referred), compareKeys)
	size := 0
	for i := 0; i < len(queue); i++ {
		if p.members[queue[i]] {
			continue
		}
		if size > maxAnswer {
			return sorted(all), false, nil
		}
		r, err := s.store.Read(ctx, queue[i])
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) {
			continue // references need not lead to anything here
		}
		if err != nil {
			return nil, false, err
		}
		shown, err := s.mayShow(p.wanted, r)
		if err != nil {
			return nil, false, err
		}
		if !shown {
			continue
		}
		all = append(all, r)
		size += len(r.JSON)
		if _, about := ofPatients[r.Type]; about {
			continue
		}
		for _, key := range p.wanted.references(r.JSON) {
			if !p.referred[key] && len(p.referred) < maxReferred {
				p.referred[key] = true
				queue = append(queue, key)
			}
		}
	}
	return sorted(all), true, nil
}

func sorted(all []fhir.Resource) []fhir.Resource {
	slices.SortFunc(all, func(a, b fhir.Resource) int { return compareKeys(a.Key, b.Key) })
	return all
}

// mayShow reports whether a resource is about a Patient that may be shown, or about none.
func (s *server) mayShow(w *everythingWanted, r fhir.Resource) (bool, error) {
	if w.patients == nil {
		return true, nil
	}
	if r.Type == "Patient" {
		return w.patients[r.ID], nil
	}
	ofPatients, _ := definitions.Compartment("Patient")
	params := ofPatients[r.Type]
	if len(params) == 0 {
		return true, nil
	}
	terms, err := s.parameters().Extract(r.Type, r.JSON)
	if err != nil {
		return false, err
	}
	ofOthers := false
	for _, ref := range terms.References {
		if ref.Type != "Patient" || !slices.Contains(params, ref.Param) {
			continue
		}
		if w.patients[ref.ID] {
			return true, nil
		}
		ofOthers = true
	}
	return !ofOthers, nil
}

// references are the resources of this server that a resource refers to, in references and as
// the URLs of attachments.
func (w *everythingWanted) references(resource []byte) []fhir.Key {
	var found []fhir.Key
	d := jsontext.NewDecoder(bytes.NewBuffer(resource), jsontext.AllowDuplicateNames(true))
	name := ""
	for {
		token, err := d.ReadToken()
		if err != nil { // the end
			return found
		}
		if token.Kind() != '"' {
			name = ""
			continue
		}
		// Names and values take turns in an object.
		kind, length := d.StackIndex(d.StackDepth())
		if kind == '{' && length%2 == 1 {
			name = token.String()
			continue
		}
		if name == "reference" || name == "url" {
			if key, ok := keyOf(strings.TrimPrefix(token.String(), w.base+"/")); ok {
				found = append(found, key)
			}
		}
		name = ""
	}
}
