package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// maxPage is how many bytes the resources of a page over several types may have: what is more
// is on the next. The stores hold pages of one type to the same.
const maxPage = 32 << 20

// narrow reads a value of _type: one of the types. http://hl7.org/fhir/R4/search.html#type
func (s *server) narrow(in *inquiry, value string) error {
	var wanted []string
	for t := range strings.SplitSeq(value, ",") {
		if t = strings.TrimSpace(t); t == "" {
			continue
		}
		if !slices.Contains(s.types, t) {
			return badParameter("_type", "a list of resource types, as in Observation,Device").at("_type").spec(specSearch + "#type")
		}
		wanted = append(wanted, t)
	}
	if wanted == nil {
		return nil
	}
	if slices.ContainsFunc(in.used, func(p search.Pair) bool { return p.Name == "_type" }) {
		return refuse(http.StatusBadRequest, fhir.CodeInvalid, "_type is given twice").at("_type").fix("send it once, with commas between the types")
	}
	in.types = slices.DeleteFunc(slices.Clone(in.types), func(t string) bool { return !slices.Contains(wanted, t) })
	if len(in.types) == 0 {
		return refuse(http.StatusBadRequest, fhir.CodeNotSupported, "no resource of the type is ever in the compartment").at("_type").fix("name other types").spec(specCompartment)
	}
	in.used = append(in.used, search.Pair{Name: "_type", Value: strings.Join(wanted, ",")})
	return nil
}

// common are the parameters that all types of the search have. An include is left to those
// types that can have it, and given by itself.
// http://hl7.org/fhir/R4/search.html#all
func (s *server) common(in *inquiry, params []search.Pair, opt search.Options) (common []search.Pair, includes []search.Include, err error) {
	var unknown []fhir.Issue
	var asked []search.Pair
	for _, p := range params {
		name := named(p.Name)
		if name == "_include" || name == "_revinclude" {
			asked = append(asked, p)
			continue
		}
		if isResult(name) || s.shared(in.types, name) {
			common = append(common, p)
			continue
		}
		i := fhir.Issue{
			Severity: fhir.Warning, Code: fhir.CodeNotSupported, Path: search.Shown(p.Name),
			Message: "a parameter is not one of all resource types that are searched: it was ignored",
			Fix:     "use one that they have in common, as _id, _lastUpdated, _profile, _security, _source and _tag, or name the types in _type", Spec: specSearch + "#all",
		}
		if opt.Handling == search.Strict {
			i.Severity, i.Message = fhir.SevError, "a parameter is not one of all resource types that are searched"
		}
		unknown = append(unknown, i)
	}
	if len(unknown) > 0 && opt.Handling == search.Strict {
		return nil, nil, &fhir.Error{Issues: unknown}
	}
	in.issues = append(in.issues, unknown...)
	for _, p := range asked {
		var refused error
		for _, t := range in.types {
			q, _, err := s.parameters().Parse(t, []search.Pair{p}, opt)
			if err != nil {
				refused = err
				continue
			}
			for _, i := range q.Include {
				if !slices.Contains(includes, i) {
					includes = append(includes, i)
				}
			}
			refused = nil
			break
		}
		if refused != nil {
			return nil, nil, refused
		}
		if len(includes) > search.MaxIncludes {
			return nil, nil, fhir.Errorf(fhir.CodeTooCostly, "_include", "the query asks for more than %d kinds of resources to be included", search.MaxIncludes)
		}
	}
	return common, includes, nil
}

// isResult reports whether a parameter is none of a resource type.
func isResult(name string) bool {
	switch name {
	case "_sort", "_count", "_total", "_summary", "_elements", "_has":
		return true
	}
	return false
}

// shared reports whether all types have the parameter, or one refuses it: that must be told.
func (s *server) shared(types []string, name string) bool {
	refused := func(t string) bool { return s.parameters().Refused(t, name) != "" }
	lacks := func(t string) bool { _, ok := s.parameters().Lookup(t, name); return !ok }
	return slices.ContainsFunc(types, refused) || !slices.ContainsFunc(types, lacks)
}

// find is the page of matches.
func (s *server) find(ctx context.Context, in *inquiry) (found, error) {
	if !in.several || len(in.queries) == 1 {
		return s.findPage(ctx, in)
	}
	f := found{total: -1}
	if q := in.queries[0]; q.Count == 0 || q.Total != search.TotalNone {
		f.total = 0
		for _, q := range in.queries {
			q.Count, q.Total = 0, search.TotalAccurate
			page, err := s.store.Search(ctx, q)
			if err != nil {
				return f, err
			}
			f.total += page.Total
		}
		if q.Count == 0 {
			return f, nil
		}
	}
	fill := s.chain
	if in.ordered {
		fill = s.merge
	}
	err := fill(ctx, in, &f)
	return f, err
}

// place is where a page over several types begins: the cursor has the type of the last match
// before it and the cursor of that one, which is empty at the beginning of a type.
func (in *inquiry) place() (index int, after *search.Cursor, err error) {
	if in.cursor == "" {
		return 0, nil, nil
	}
	t, rest, ok := strings.Cut(in.cursor, ".")
	index, known := slices.BinarySearchFunc(in.queries, t, byType)
	if !ok || !known {
		return 0, nil, refuse(http.StatusBadRequest, fhir.CodeInvalid, "the cursor is not one of this search").at(search.CursorParam).
			fix("follow the links of the first page without changing them").spec("http://hl7.org/fhir/R4/http.html#paging")
	}
	q := in.queries[index]
	if rest == "" {
		return index, nil, nil
	}
	c, err := search.DecodeCursor(rest, q)
	if err != nil {
		return 0, nil, bad(err)
	}
	return index, &c, nil
}

// chain fills a page with the matches of one type after the other, each in its own order.
func (s *server) chain(ctx context.Context, in *inquiry, f *found) error {
	begin, after, err := in.place()
	if err != nil {
		return err
	}
	size, count := 0, in.queries[0].Count
	for _, q := range in.queries[begin:] {
		full := len(f.resources) >= count || size > maxPage
		q.Total, q.Count = search.TotalNone, count-len(f.resources)
		if full {
			q.Count = 1
		}
		q.After, after = after, nil
		page, err := s.store.Search(ctx, q)
		if err != nil {
			return err
		}
		if full {
			if len(page.Resources) > 0 {
				f.next = q.Type + "."
				return nil
			}
			continue
		}
		f.resources = append(f.resources, page.Resources...)
		for _, r := range page.Resources {
			size += len(r.JSON)
		}
		if page.Next != nil {
			f.next = q.Type + "." + page.Next.Encode(q)
			return nil
		}
	}
	return nil
}

// merge fills a page with the matches of all types in one order. Of equals, which have the
// same id, the one whose type comes first in the alphabet is the first.
func (s *server) merge(ctx context.Context, in *inquiry, f *found) error {
	begin, after, err := in.place()
	if err != nil {
		return err
	}
	sources := make([]source, len(in.queries))
	for i, q := range in.queries {
		q.Total, q.After = search.TotalNone, after
		sources[i] = source{s: s, q: q, more: true, chunk: max(1, q.Count/len(in.queries))}
		if after != nil && i > begin {
			if err := sources[i].equal(ctx, *after); err != nil {
				return err
			}
		}
	}
	size, last := 0, "" // the cursor of the last match
	for {
		var first *source
		for i := range sources {
			src := &sources[i]
			if err := src.fill(ctx); err != nil {
				return err
			}
			if len(src.items) > 0 && (first == nil || src.q.Compare(src.items[0].at, first.items[0].at) < 0) {
				first = src
			}
		}
		if first == nil {
			return nil
		}
		if len(f.resources) >= in.queries[0].Count || size > maxPage {
			f.next = last
			return nil
		}
		item := first.items[0]
		first.items = first.items[1:]
		f.resources = append(f.resources, item.Resource)
		size += len(item.JSON)
		last = first.q.Type + "." + item.at.Encode(first.q)
	}
}

// source gives the matches of one type, in their order.
type source struct {
	s     *server
	q     search.Query
	items []placed
	more  bool // there may be others in the store
	chunk int  // how many are read next
}

// placed is a match with its place in the order.
type placed struct {
	fhir.Resource
	at search.Cursor
}

// fill reads the next matches if none is at hand: ever more of them, so that little is read
// in vain of many types and few pages are read of one.
func (src *source) fill(ctx context.Context) error {
	if len(src.items) > 0 || !src.more {
		return nil
	}
	q := src.q
	q.Count = min(src.chunk, search.MaxCount)
	src.chunk *= 2
	page, err := src.s.store.Search(ctx, q)
	if err != nil {
		return err
	}
	src.q.After, src.more = page.Next, page.Next != nil
	return src.add(page.Resources)
}

func (src *source) add(resources []fhir.Resource) error {
	for i := range resources {
		at, err := src.s.placeOf(&src.q, &resources[i])
		if err != nil {
			return err
		}
		src.items = append(src.items, placed{resources[i], at})
	}
	return nil
}

// equal reads the match that is in the same place as the last one of the page before, which
// was of a type that comes before this one.
func (src *source) equal(ctx context.Context, at search.Cursor) error {
	q := src.q
	q.After, q.Count = nil, 1
	q.Where = append(slices.Clip(q.Where), search.IDs(fhir.Key{Type: q.Type, ID: at.ID}))
	page, err := src.s.store.Search(ctx, q)
	if err != nil {
		return err
	}
	if err := src.add(page.Resources); err != nil {
		return err
	}
	src.items = slices.DeleteFunc(src.items, func(p placed) bool { return q.Compare(p.at, at) != 0 })
	return nil
}

// listed are the resources that Lists name, by their types: without those whose entry says
// that they were taken off. A List that is not there names none, which is told.
// http://hl7.org/fhir/R4/search.html#list
func (s *server) listed(x *exchange, value string) (map[string][]fhir.Key, []fhir.Issue, error) {
	keys := map[string][]fhir.Key{}
	var issues []fhir.Issue
	ids := strings.Split(value, ",")
	if len(ids) > maxLists {
		return nil, nil, refuse(http.StatusBadRequest, fhir.CodeTooCostly, "_list has too many values").at("_list").fix("search in several steps")
	}
	for _, id := range ids {
		id = strings.TrimPrefix(strings.TrimPrefix(id, x.base+"/"), "List/")
		if !fhir.ValidID(id) {
			return nil, nil, refuse(http.StatusBadRequest, fhir.CodeValue, "_list has a value that is not the id of a List").at("_list").
				fix("send the id of a List; lists like $current-allergies are not kept here").spec(specSearch + "#list")
		}
		list, err := s.store.Read(x.Context(), fhir.Key{Type: "List", ID: id})
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) {
			issues = append(issues, fhir.Issue{Severity: fhir.Warning, Code: fhir.CodeNotFound, Path: "_list",
				Message: "there is no List with the id, so nothing is in it", Fix: "search for it: GET /fhir/List", Spec: specSearch + "#list"})
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		var content struct {
			Entry []struct {
				Deleted bool
				Item    struct{ Reference string }
			}
		}
		if err := json.Unmarshal(list.JSON, &content, json.MatchCaseInsensitiveNames(true)); err != nil {
			return nil, nil, err
		}
		for _, e := range content.Entry {
			if key, ok := local(x.base, e.Item.Reference); ok && !e.Deleted {
				keys[key.Type] = append(keys[key.Type], key)
			}
		}
	}
	return keys, issues, nil
}

const maxLists = 20

// local is the resource of this server that a reference names, with its version if it names
// one.
func local(base, reference string) (fhir.Key, bool) {
	reference, version, versioned := strings.Cut(strings.TrimPrefix(reference, base+"/"), "/_history/")
	key, ok := keyOf(reference)
	key.Version = version
	return key, ok && (!versioned || fhir.ValidID(version))
}
