package main

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func TestTheTablesAreThoseOfTheDefinitions(t *testing.T) {
	fhirtest.Long(t)
	dir := filepath.Join(fhirtest.Shared(t), "fhir")
	tables, err := build(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sortedKeys(tables) {
		f, err := os.Open(filepath.Join("..", "tables", name+".flate"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		have, err := io.ReadAll(flate.NewReader(f))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, tables[name]) {
			t.Errorf("%s is not what the definitions give: run go generate ./fhir/definitions", name)
		}
	}
}

// elements are a differential or snapshot, written as id and properties.
func elements(t *testing.T, list ...string) []*element {
	t.Helper()
	var all []*element
	for _, text := range list {
		e := &element{}
		if err := json.Unmarshal([]byte(text), e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// small is a world of one resource, with a data type and an extension.
func small(t *testing.T) *material {
	m := &material{structures: map[string]*structure{}, order: map[string][]string{}}
	add := func(name, of, base string, list ...string) {
		s := &structure{URL: "http://hl7.org/fhir/StructureDefinition/" + name, Name: name, Type: of}
		s.Snapshot.Element = elements(t, list...)
		m.structures[s.URL] = s
	}
	add("Thing", "Thing", "",
		`{"id":"Thing","path":"Thing","min":0,"max":"*"}`,
		`{"id":"Thing.code","path":"Thing.code","min":0,"max":"1","type":[{"code":"Code"}]}`,
		`{"id":"Thing.part","path":"Thing.part","min":1,"max":"*","type":[{"code":"BackboneElement"}]}`,
		`{"id":"Thing.part.value[x]","path":"Thing.part.value[x]","min":0,"max":"1","type":[{"code":"Code"},{"code":"string"}]}`,
		`{"id":"Thing.other","path":"Thing.other","min":0,"max":"*","contentReference":"#Thing.part"}`)
	add("Code", "Code", "",
		`{"id":"Code","path":"Code","min":0,"max":"*"}`,
		`{"id":"Code.system","path":"Code.system","min":0,"max":"1","type":[{"code":"uri"}]}`)
	return m
}

func TestDifferentialsBecomeSnapshots(t *testing.T) {
	for _, c := range []struct {
		about string
		diff  []string
		want  map[string]string // of an element, by id: its cardinality
		fails bool
	}{
		{about: "an element is narrowed",
			diff: []string{`{"id":"Thing.code","path":"Thing.code","min":1}`},
			want: map[string]string{"Thing.code": "1..1"}},
		{about: "the elements of a data type are unfolded",
			diff: []string{`{"id":"Thing.code.system","path":"Thing.code.system","min":1}`},
			want: map[string]string{"Thing.code": "0..1", "Thing.code.system": "1..1"}},
		{about: "a new slice need not be there though its element must",
			diff: []string{`{"id":"Thing.part","path":"Thing.part","slicing":{"rules":"open"}}`,
				`{"id":"Thing.part:a","path":"Thing.part","sliceName":"a","max":"1"}`},
			want: map[string]string{"Thing.part": "1..*", "Thing.part:a": "0..1", "Thing.part:a.value[x]": "0..1"}},
		{about: "an element after a slice belongs to it though its id forgets that",
			diff: []string{`{"id":"Thing.part","path":"Thing.part","slicing":{"rules":"open"}}`,
				`{"id":"Thing.part:a","path":"Thing.part","sliceName":"a"}`,
				`{"id":"Thing.part.value[x]","path":"Thing.part.value[x]","min":1}`},
			want: map[string]string{"Thing.part.value[x]": "0..1", "Thing.part:a.value[x]": "1..1"}},
		{about: "one type of a choice is a slice of it",
			diff: []string{`{"id":"Thing.part.valueCode","path":"Thing.part.valueCode","min":1}`,
				`{"id":"Thing.part.valueCode.system","path":"Thing.part.valueCode.system","min":1}`},
			want: map[string]string{"Thing.part.value[x]": "0..1", "Thing.part.value[x]:valueCode": "1..1", "Thing.part.value[x]:valueCode.system": "1..1"}},
		{about: "a content reference is unfolded",
			diff: []string{`{"id":"Thing.other.value[x]","path":"Thing.other.value[x]","max":"0"}`},
			want: map[string]string{"Thing.part.value[x]": "0..1", "Thing.other.value[x]": "0..0"}},
		{about: "an element that is nowhere",
			diff: []string{`{"id":"Thing.colour","path":"Thing.colour"}`}, fails: true},
		{about: "an element of a value that may have several types",
			diff: []string{`{"id":"Thing.part.value[x].system","path":"Thing.part.value[x].system"}`}, fails: true},
	} {
		t.Run(c.about, func(t *testing.T) {
			m := small(t)
			p := &structure{URL: "http://example.org/p", Type: "Thing", BaseDefinition: "http://hl7.org/fhir/StructureDefinition/Thing"}
			p.Differential.Element = elements(t, c.diff...)
			m.structures[p.URL] = p
			s, err := m.snapshot(p.URL, 0)
			if (err != nil) != c.fails {
				t.Fatalf("got error %v", err)
			}
			if c.fails {
				return
			}
			have := map[string]string{}
			var walk func(x *tree, id string)
			walk = func(x *tree, id string) {
				have[id] = string(rune('0'+or(x.Min, 0))) + ".." + or(x.Max, "")
				for _, k := range x.children {
					walk(k, id+"."+k.name)
				}
				for _, k := range x.slices {
					walk(k, id+":"+k.SliceName)
				}
			}
			walk(s.tree, "Thing")
			for id, want := range c.want {
				if have[id] != want {
					t.Errorf("%s: got %q, want %s (of %v)", id, have[id], want, sortedKeys(have))
				}
			}
		})
	}
}

func TestAProfileThatBuildsOnItselfIsRefused(t *testing.T) {
	m := small(t)
	p := &structure{URL: "http://example.org/p", BaseDefinition: "http://example.org/p"}
	p.Differential.Element = elements(t, `{"id":"Thing","path":"Thing"}`)
	m.structures[p.URL] = p
	if _, err := m.snapshot(p.URL, 0); err == nil {
		t.Error("want an error")
	}
}

func TestValueSetsAreExpanded(t *testing.T) {
	m := &material{sets: map[string]*valueSet{}, codeSystems: map[string]*codeSystem{}}
	read := func(text string, v any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), v); err != nil {
			t.Fatal(err)
		}
	}
	s := &codeSystem{}
	read(`{"url":"s","content":"complete","concept":[{"code":"a","concept":[{"code":"b"},{"code":"c","property":[{"code":"kind","valueCode":"x"}]}]},{"code":"d","property":[{"code":"child","valueCode":"b"}]}]}`, s)
	m.codeSystems["s"] = s
	for url, text := range map[string]string{
		"all":     `{"include":[{"system":"s"}]}`,
		"below":   `{"include":[{"system":"s","filter":[{"property":"concept","op":"is-a","value":"a"}]}]}`,
		"under":   `{"include":[{"system":"s","filter":[{"property":"concept","op":"descendent-of","value":"a"}]}]}`,
		"not":     `{"include":[{"system":"s","filter":[{"property":"concept","op":"is-not-a","value":"a"}]}]}`,
		"other":   `{"include":[{"system":"s","filter":[{"property":"concept","op":"is-a","value":"d"}]}]}`,
		"kind":    `{"include":[{"system":"s","filter":[{"property":"kind","op":"=","value":"x"}]}]}`,
		"pattern": `{"include":[{"system":"s","filter":[{"property":"code","op":"regex","value":"[ab]"}]}]}`,
		"less":    `{"include":[{"system":"s"}],"exclude":[{"system":"s","concept":[{"code":"a"}]}]}`,
		"both":    `{"include":[{"valueSet":["below","less"]}]}`,
		"strange": `{"include":[{"system":"s","filter":[{"property":"colour","op":"=","value":"x"}]}]}`,
		"missing": `{"include":[{"valueSet":["nowhere"]},{"system":"s","concept":[{"code":"a"}]}]}`,
		"large":   `{"include":[{"system":"http://loinc.org"}]}`,
		"circle":  `{"include":[{"valueSet":["circle"]}]}`,
	} {
		v := &valueSet{URL: url}
		read(`{"compose":`+text+`}`, v)
		m.sets[url] = v
	}
	for _, c := range []struct {
		url   string
		codes []string
		open  bool
	}{
		{"all", []string{"a", "b", "c", "d"}, false},
		{"below", []string{"a", "b", "c"}, false},
		{"under", []string{"b", "c"}, false},
		{"not", []string{"d"}, false},
		{"other", []string{"b", "d"}, false},
		{"kind", []string{"c"}, false},
		{"pattern", []string{"a", "b"}, false},
		{"less", []string{"b", "c", "d"}, false},
		{"both", []string{"b", "c"}, false},
		{"strange", nil, true},
		{"missing", []string{"a"}, true},
		{"large", nil, true},
		{"circle", nil, true},
	} {
		set := m.expand(c.url, nil)
		var codes []string
		open := set.open
		for _, s := range set.systems {
			codes = append(codes, sortedKeys(s.codes)...)
			open = open || s.open
		}
		if !slices.Equal(codes, c.codes) || open != c.open {
			t.Errorf("%s: got %v, open %t, want %v, open %t", c.url, codes, open, c.codes, c.open)
		}
	}
}
