package rest

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// Limits of what one page includes.
const (
	maxIncluded      = 1000     // resources
	maxIncludedBytes = 32 << 20 // after which no more are read
	maxLookups       = 20_000   // references that are followed, also those that lead to nothing
	maxRounds        = 8        // steps of :iterate
	maxValues        = 200      // resources that one search asks for references to
)

// included are the resources that are to be given beside the matches of a page, each once
// and none that is a match, and whether limits cut them.
// http://hl7.org/fhir/R4/search.html#include
func (s *server) included(x *exchange, includes []search.Include, matches []fhir.Resource) ([]fhir.Resource, bool, error) {
	if len(includes) == 0 || len(matches) == 0 {
		return nil, false, nil
	}
	w := &inclusion{s: s, x: x, there: make(map[fhir.Key]bool, len(matches)), asked: map[string]bool{}}
	for _, m := range matches {
		w.there[m.Key] = true
	}
	from := matches
	for round := 0; len(from) > 0 && !w.cut; round++ {
		if round == maxRounds {
			w.cut = true
			break
		}
		begin := len(w.found)
		for _, i := range includes {
			if round > 0 && !i.Iterate {
				continue
			}
			step := w.forward
			if i.Reverse {
				step = w.reverse
			}
			if err := step(i, from); err != nil {
				return nil, false, err
			}
		}
		if !slices.ContainsFunc(includes, func(i search.Include) bool { return i.Iterate }) {
			break
		}
		from = w.found[begin:]
	}
	return w.found, w.cut, nil
}

// inclusion collects what is included in a page.
type inclusion struct {
	s       *server
	x       *exchange
	there   map[fhir.Key]bool // matches and included resources, with their versions
	asked   map[string]bool   // references that were followed
	found   []fhir.Resource
	bytes   int
	lookups int
	cut     bool
}

// add includes a resource that is not there already, and reports whether there is room for another.
func (w *inclusion) add(r fhir.Resource) bool {
	if w.there[r.Key] {
		return true
	}
	if len(w.found) == maxIncluded || w.bytes > maxIncludedBytes {
		w.cut = true
		return false
	}
	w.there[r.Key] = true
	w.found = append(w.found, r)
	w.bytes += len(r.JSON)
	return true
}

// forward includes what resources refer to.
func (w *inclusion) forward(i search.Include, from []fhir.Resource) error {
	for _, r := range from {
		if r.Type != i.Source {
			continue
		}
		terms, err := w.s.parameters().Extract(r.Type, r.JSON)
		if err != nil {
			return err
		}
		for n := range terms.References {
			ref := &terms.References[n]
			if i.Param != "*" && ref.Param != i.Param {
				continue
			}
			if err := w.follow(i, r, ref); err != nil {
				return err
			}
			if w.cut {
				return nil
			}
		}
	}
	return nil
}

// follow includes what a reference of a resource is to.
func (w *inclusion) follow(i search.Include, from fhir.Resource, ref *search.Reference) error {
	key, ok := fhir.Key{Type: ref.Type, ID: ref.ID}, ref.ID != ""
	if !ok && ref.URL != "" {
		key, ok = local(w.x.base, ref.URL)
	}
	switch {
	case !ok:
		return w.canonical(i, from.Type, ref)
	case i.Target != "" && key.Type != i.Target:
		return nil
	}
	for _, version := range versions(from.JSON, key) {
		key.Version = version
		if !w.once(key.String()) || w.there[key] {
			continue
		}
		r, err := w.s.store.Read(w.x.Context(), key)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		if !w.add(r) {
			return nil
		}
	}
	return nil
}

// once reports whether a reference was not followed before, and counts it.
func (w *inclusion) once(reference string) bool {
	if w.asked[reference] {
		return false
	}
	w.asked[reference] = true
	if w.lookups++; w.lookups > maxLookups {
		w.cut = true
		return false
	}
	return true
}

// versions are those of a resource that the references to it in another one name, "" for the
// current one. http://hl7.org/fhir/R4/search.html#include
func versions(in []byte, of fhir.Key) []string {
	var all []string
	name := []byte(of.Type + "/" + of.ID)
	for {
		at := bytes.Index(in, name)
		if at < 0 {
			break
		}
		in = in[at+len(name):]
		version := ""
		if rest, ok := bytes.CutPrefix(in, []byte("/_history/")); ok {
			end := bytes.IndexByte(rest, '"')
			if end < 0 || !fhir.ValidID(string(rest[:end])) {
				continue
			}
			version = string(rest[:end])
		} else if len(in) == 0 || in[0] != '"' {
			continue // an id that only begins like this
		}
		if !slices.Contains(all, version) {
			all = append(all, version)
		}
	}
	if all == nil {
		all = []string{""} // the slashes of the JSON are escaped
	}
	return all
}

// canonical includes the resource that has a canonical URL.
// http://hl7.org/fhir/R4/references.html#canonical
func (w *inclusion) canonical(i search.Include, source string, ref *search.Reference) error {
	if ref.URL == "" || ref.URL[0] == '#' || strings.HasPrefix(ref.URL, "urn:uuid:") {
		return nil
	}
	param, _ := w.s.parameters().Lookup(source, ref.Param)
	for _, target := range param.Targets {
		if i.Target != "" && target != i.Target {
			continue
		}
		url, ok := w.s.parameters().Lookup(target, "url")
		if !ok || url.Type != search.URIParam || !w.once(target+" "+ref.URL+"|"+ref.Version) {
			continue
		}
		q := search.Query{Type: target, Count: 10, Total: search.TotalNone, Sort: byID(), Where: []search.Clause{{Param: url, Values: []search.Value{{String: ref.URL, Text: ref.URL}}}}}
		if version, ok := w.s.parameters().Lookup(target, "version"); ok && ref.Version != "" {
			v := search.Value{Code: ref.Version, AnySystem: true, Text: ref.Version}
			if !version.CaseSensitive {
				v.Code = strings.ToLower(v.Code)
			}
			q.Where = append(q.Where, search.Clause{Param: version, Values: []search.Value{v}})
		}
		page, err := w.s.store.Search(w.x.Context(), q)
		if err != nil {
			return err
		}
		for _, r := range page.Resources {
			if !w.add(r) {
				return nil
			}
		}
	}
	return nil
}

// reverse includes what refers to resources.
func (w *inclusion) reverse(i search.Include, to []fhir.Resource) error {
	var params []search.Param
	for _, p := range w.s.parameters().Of(i.Source) {
		if p.Type == search.ReferenceParam && (i.Param == "*" || i.Param == p.Name) {
			params = append(params, p)
		}
	}
	for chunk := range slices.Chunk(to, maxValues) {
		var any []search.Clause
		published := map[string][]string{} // the versions of canonical URLs
		for _, p := range params {
			c := search.Clause{Param: p}
			for _, r := range chunk {
				if i.Target != "" && i.Target != r.Type || p.Targets != nil && !slices.Contains(p.Targets, r.Type) {
					continue
				}
				c.Values = append(c.Values, search.Value{RefType: r.Type, RefID: r.ID, Text: r.Type + "/" + r.ID})
				if url, version := w.s.canonicalOf(r); url != "" {
					published[url] = append(published[url], version)
					c.Values = append(c.Values, search.Value{URL: url, Text: url})
				}
			}
			if c.Values != nil {
				any = append(any, c)
			}
		}
		if any == nil {
			continue
		}
		where := []search.Clause{{Any: any}}
		if len(any) == 1 {
			where = any
		}
		if err := w.referring(i, where, published); err != nil || w.cut {
			return err
		}
	}
	return nil
}

// referring includes what is found by references, but not what refers to another version of
// a canonical URL.
func (w *inclusion) referring(i search.Include, where []search.Clause, published map[string][]string) error {
	q := search.Query{Type: i.Source, Where: where, Total: search.TotalNone, Sort: byID()}
	for {
		q.Count = min(search.MaxCount, maxIncluded-len(w.found)+1)
		page, err := w.s.store.Search(w.x.Context(), q)
		if err != nil {
			return err
		}
		for _, r := range page.Resources {
			if len(published) > 0 {
				meant, err := w.means(i, r, published)
				if err != nil {
					return err
				}
				if !meant {
					continue
				}
			}
			if !w.add(r) {
				return nil
			}
		}
		if q.After = page.Next; page.Next == nil {
			return nil
		}
	}
}

// means reports whether one of the references by which a resource was found is by type and id,
// or to a version that is meant.
func (w *inclusion) means(i search.Include, r fhir.Resource, published map[string][]string) (bool, error) {
	terms, err := w.s.parameters().Extract(r.Type, r.JSON)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(terms.References, func(ref search.Reference) bool {
		if i.Param != "*" && ref.Param != i.Param {
			return false
		}
		if ref.ID != "" {
			return true
		}
		versions, ok := published[ref.URL]
		return ok && (ref.Version == "" || slices.Contains(versions, ref.Version))
	}), nil
}

// canonicalOf are the canonical URL and the version of a resource, "" if its type has none.
func (s *server) canonicalOf(r fhir.Resource) (url, version string) {
	if p, ok := s.parameters().Lookup(r.Type, "url"); !ok || p.Type != search.URIParam {
		return "", ""
	}
	var content struct {
		URL     string `json:"url"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(r.JSON, &content); err != nil {
		return "", ""
	}
	return content.URL, content.Version
}

// byID is the order in which a store need not sort.
func byID() []search.Sort { return []search.Sort{{Param: "_id", Type: search.TokenParam}} }
