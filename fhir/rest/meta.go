package rest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

const specMeta = "http://hl7.org/fhir/R4/resource-operations.html"

// maxLabels is how many profiles, tags and security labels $meta lists, and how many of them
// $meta-add and $meta-delete are given at once.
const maxLabels = 10_000

// meta answers $meta of a resource and of a version: its meta.
// http://hl7.org/fhir/R4/resource-operation-meta.html
func (s *server) meta(x *exchange) (reply, error) {
	if err := s.noArguments(x); err != nil {
		return reply{}, err
	}
	found, err := s.store.Read(x.Context(), x.key)
	if err != nil {
		return reply{}, err
	}
	return metaOf(found)
}

// noArguments refuses arguments.
func (s *server) noArguments(x *exchange) error {
	args, err := s.arguments(x)
	if err == nil && len(args) > 0 {
		err = refuse(http.StatusBadRequest, fhir.CodeNotSupported, "$meta has no parameters").fix("leave them out").spec(specMeta)
	}
	return err
}

// metaOf answers with the meta of a resource.
func metaOf(r fhir.Resource) (reply, error) {
	meta := []byte("{}")
	_, err := withMember(r.JSON, "meta", func(old []byte) ([]byte, error) {
		if old != nil {
			meta = old
		}
		return old, nil
	})
	return returned(meta).of(r), err
}

// returned is the Parameters with the Meta that an operation gives. FHIR has no empty Meta:
// where there is nothing to tell, there is no parameter.
func returned(meta []byte) reply {
	if string(meta) == "{}" {
		return reply{status: http.StatusOK, body: []byte(`{"resourceType":"Parameters"}`)}
	}
	out := []byte(`{"resourceType":"Parameters","parameter":[{"name":"return","valueMeta":`)
	return reply{status: http.StatusOK, body: append(append(out, meta...), `}]}`...)}
}

// metaInUse answers $meta of a type and of the server: all profiles, tags and security labels
// that resources have. It reads them all, at most maxRead.
// http://hl7.org/fhir/R4/resource-operation-meta.html
func (s *server) metaInUse(x *exchange) (reply, error) {
	if err := s.noArguments(x); err != nil {
		return reply{}, err
	}
	types := s.types
	if x.key.Type != "" {
		types = []string{x.key.Type}
	}
	all := labels{map[string]bool{}, map[coded]coded{}, map[coded]coded{}}
	read := 0
	for _, t := range types {
		q, err := s.labelled(t)
		if err != nil {
			return reply{}, err
		}
		for {
			page, err := s.store.Search(x.Context(), q)
			if err != nil {
				return reply{}, err
			}
			for _, r := range page.Resources {
				all.add(r)
			}
			if read += len(page.Resources); read > maxRead || all.len() > maxLabels {
				return reply{}, tooCostly(fmt.Sprintf("more than %d resources have labels, or there are more than %d of these", maxRead, maxLabels),
					"ask for one resource, or for another type").spec(specMeta)
			}
			if page.Next == nil {
				break
			}
			q.After = page.Next
		}
	}
	meta, err := all.meta()
	return returned(meta), err
}

// labelled is the search for what has profiles, tags or security labels.
func (s *server) labelled(resourceType string) (search.Query, error) {
	q, _, err := s.parameters().Parse(resourceType, []search.Pair{
		{Name: "_profile:missing", Value: "false"}, {Name: "_tag:missing", Value: "false"}, {Name: "_security:missing", Value: "false"},
	}, search.Options{Handling: search.Strict})
	if err != nil {
		return q, err
	}
	q.Where = []search.Clause{{Any: q.Where}}
	q.Count = search.MaxCount
	return q, nil
}

// labels are profiles, tags and security labels: sets, of which the latter two are known by
// system and code.
type labels struct {
	profiles       map[string]bool
	tags, security map[coded]coded
}

func (l *labels) len() int { return len(l.profiles) + len(l.tags) + len(l.security) }

func (l *labels) add(r fhir.Resource) {
	var of struct {
		Meta struct {
			Profile  []*string `json:"profile"`
			Tag      []coded   `json:"tag"`
			Security []coded   `json:"security"`
		} `json:"meta"`
	}
	if json.Unmarshal(r.JSON, &of) != nil {
		return // it was stored unchecked, and has no labels that can be read
	}
	for _, p := range of.Meta.Profile {
		if p != nil {
			l.profiles[*p] = true
		}
	}
	unite(l.tags, of.Meta.Tag)
	unite(l.security, of.Meta.Security)
}

func unite(set map[coded]coded, list []coded) {
	for _, c := range list {
		id := coded{System: c.System, Code: c.Code}
		if c != (coded{}) && set[id].Display == "" {
			set[id] = c
		}
	}
}

func (l *labels) meta() ([]byte, error) {
	sorted := func(set map[coded]coded) []coded {
		return slices.SortedFunc(maps.Values(set), func(a, b coded) int {
			return cmp.Or(strings.Compare(a.System, b.System), strings.Compare(a.Code, b.Code))
		})
	}
	return json.Marshal(struct {
		Profile  []string `json:"profile,omitempty"`
		Security []coded  `json:"security,omitempty"`
		Tag      []coded  `json:"tag,omitempty"`
	}{slices.Sorted(maps.Keys(l.profiles)), sorted(l.security), sorted(l.tags)})
}

// metaAdd answers $meta-add: the resource gets the profiles, tags and security labels that it
// does not have. http://hl7.org/fhir/R4/resource-operation-meta-add.html
func (s *server) metaAdd(x *exchange) (reply, error) { return s.relabel(x, true) }

// metaDelete answers $meta-delete: the resource loses the profiles, tags and security labels
// that are sent. http://hl7.org/fhir/R4/resource-operation-meta-delete.html
func (s *server) metaDelete(x *exchange) (reply, error) { return s.relabel(x, false) }

// relabel writes a new version with other labels, valid as after an update, or none if they
// are the same. A version in the URL has to be the current one: what is past is not changed.
func (s *server) relabel(x *exchange, add bool) (reply, error) {
	stated, err := precondition(x)
	if err != nil {
		return reply{}, err
	}
	sent, err := s.sentMeta(x)
	if err != nil {
		return reply{}, err
	}
	return again(func() (reply, error) {
		current, err := s.relabelled(x)
		if err != nil {
			return reply{}, err
		}
		if err := holds(stated, current); err != nil {
			return reply{}, err
		}
		body, err := withMember(current.JSON, "meta", func(meta []byte) ([]byte, error) { return sent.in(meta, add) })
		if err != nil {
			return reply{}, refuse(http.StatusUnprocessableEntity, fhir.CodeStructure, "the meta of the resource is not one that can be changed").at(current.Type + ".meta").
				fix("PUT the resource with another meta").spec("http://hl7.org/fhir/R4/resource.html#Meta")
		}
		if bytes.Equal(body, current.JSON) {
			return metaOf(current)
		}
		c, err := s.rewritten(current.Type, body)
		if err != nil {
			return reply{}, err
		}
		written, err := s.write(x, store.Change{
			Key: fhir.Key{Type: current.Type, ID: current.ID}, JSON: c.json, Terms: c.terms, Parameters: c.by, If: store.Condition{Version: current.Version},
		})
		if err != nil {
			return reply{}, ours(err, stated)
		}
		return metaOf(written.Resource)
	})
}

// relabelled is the resource of the URL, whose version is the current one if it names any.
func (s *server) relabelled(x *exchange) (fhir.Resource, error) {
	asked, err := s.store.Read(x.Context(), x.key)
	if err != nil || x.key.Version == "" {
		return asked, err
	}
	current, err := s.store.Read(x.Context(), fhir.Key{Type: x.key.Type, ID: x.key.ID})
	if err == nil && current.Version != asked.Version {
		err = refuse(http.StatusConflict, fhir.CodeConflict, "the version is not the current one: what is past is not changed").
			fix("use the URL of the resource, /fhir/[type]/[id]/" + x.URL.Path[strings.LastIndexByte(x.URL.Path, '/')+1:]).spec(specMeta)
	}
	return current, err
}

// sentLabels are what $meta-add and $meta-delete are given.
type sentLabels struct {
	Profile  []string         `json:"profile"`
	Tag      []jsontext.Value `json:"tag"`
	Security []jsontext.Value `json:"security"`
}

// sentMeta reads the one argument meta.
func (s *server) sentMeta(x *exchange) (*sentLabels, error) {
	args, err := s.arguments(x)
	if err != nil {
		return nil, err
	}
	var sent *sentLabels
	for _, a := range args {
		switch {
		case a.name != "meta":
			return nil, unknownArgument("meta", specMeta)
		case sent != nil:
			return nil, twice("meta", specMeta)
		}
		sent = &sentLabels{}
		if a.of != "Meta" || a.json == nil || json.Unmarshal(a.json, sent) != nil {
			return nil, refuse(http.StatusBadRequest, fhir.CodeStructure, "the parameter meta is no Meta").at("Parameters.parameter").
				fix("send it as valueMeta, with profile, tag and security").spec(specMeta)
		}
	}
	switch {
	case sent == nil:
		return nil, refuse(http.StatusBadRequest, fhir.CodeRequired, "the parameter meta is missing").at("Parameters.parameter").
			fix("POST Parameters with it, as valueMeta").spec(specMeta)
	case len(sent.Profile)+len(sent.Tag)+len(sent.Security) > maxLabels:
		return nil, tooCostly(fmt.Sprintf("the parameter meta has more than %d profiles, tags and security labels", maxLabels), "send fewer").spec(specMeta)
	}
	return sent, nil
}

// in is the meta with the labels added or removed. All else is as it was.
func (l *sentLabels) in(meta []byte, add bool) ([]byte, error) {
	if meta == nil {
		meta = []byte("{}")
	}
	profiles := make([]jsontext.Value, len(l.Profile))
	for i, p := range l.Profile {
		profiles[i] = quote(nil, p)
	}
	var err error
	for _, list := range []struct {
		name string
		sent []jsontext.Value
		id   func(jsontext.Value) string
	}{{"profile", profiles, textOf}, {"security", l.Security, codingOf}, {"tag", l.Tag, codingOf}} {
		if meta, err = relist(meta, list.name, list.sent, list.id, add); err != nil {
			return nil, err
		}
	}
	return meta, nil
}

// relist adds values to a list of an object, or removes them, and keeps what extends the
// others beside them. Values with one id are one.
func relist(object []byte, name string, sent []jsontext.Value, id func(jsontext.Value) string, add bool) ([]byte, error) {
	var stored, beside []jsontext.Value
	for from, to := range map[string]*[]jsontext.Value{name: &stored, "_" + name: &beside} {
		_, err := withMember(object, from, func(old []byte) ([]byte, error) {
			if old == nil {
				return nil, nil
			}
			return old, json.Unmarshal(old, to)
		})
		if err != nil {
			return nil, err
		}
	}
	extended := len(beside) > 0
	for len(beside) < len(stored) {
		beside = append(beside, jsontext.Value("null"))
	}
	given := map[string]bool{}
	for _, v := range sent {
		given[id(v)] = true
	}
	var values, extensions []jsontext.Value
	there := map[string]bool{}
	for i, v := range stored {
		if there[id(v)] = true; !add && given[id(v)] {
			continue
		}
		values, extensions = append(values, v), append(extensions, beside[i])
	}
	for _, v := range sent {
		if add && !there[id(v)] {
			there[id(v)] = true
			values, extensions = append(values, v), append(extensions, jsontext.Value("null"))
		}
	}
	object, err := withMember(object, name, func([]byte) ([]byte, error) { return listOf(values) })
	if err != nil || !extended {
		return object, err
	}
	if !slices.ContainsFunc(extensions, func(v jsontext.Value) bool { return v.Kind() != 'n' }) {
		extensions = nil
	}
	return withMember(object, "_"+name, func([]byte) ([]byte, error) { return listOf(extensions) })
}

// listOf is a JSON list, nil if it has nothing.
func listOf(values []jsontext.Value) ([]byte, error) {
	if len(values) == 0 {
		return nil, nil
	}
	return json.Marshal(values)
}

// textOf is what tells profiles apart: the whole URL. One that is missing is only an
// extension, and like no other.
func textOf(v jsontext.Value) string {
	var text string
	if v.Kind() != '"' || json.Unmarshal(v, &text) != nil {
		return string(v)
	}
	return "text " + text
}

// codingOf is what tells tags and security labels apart: system and code.
func codingOf(v jsontext.Value) string {
	var c coded
	if json.Unmarshal(v, &c) != nil {
		return string(v)
	}
	return c.System + "\x00" + c.Code
}

var errNoObject = errors.New("rest: the value is no JSON object")

// withMember is an object whose member of that name is what f makes of it: f is given nil
// where there is none, and gives nil to have none. All other bytes stay, of compact JSON.
func withMember(object []byte, name string, f func(old []byte) ([]byte, error)) ([]byte, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(object))
	if d.PeekKind() != '{' {
		return nil, errNoObject
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(object)+64), '{')
	put := func(key, value []byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, key...), ':'), value...)
	}
	found := false
	for d.PeekKind() == '"' {
		raw, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		key := bytes.Clone(raw)
		if raw, err = d.ReadValue(); err != nil {
			return nil, err
		}
		value := []byte(raw)
		if string(key) == `"`+name+`"` {
			found = true
			if value, err = f(bytes.Clone(raw)); err != nil {
				return nil, err
			}
		}
		if value != nil {
			put(key, value)
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	if !found {
		value, err := f(nil)
		if err != nil {
			return nil, err
		}
		if value != nil {
			put(quote(nil, name), value)
		}
	}
	return append(out, '}'), nil
}
