package definitions

import (
	"compress/flate"
	"embed"
	"io"
	"sort"
	"strings"
	"sync"
)

//go:embed tables/*.flate
var tables embed.FS

// A reader takes a table apart: a list of strings, then numbers as unsigned varints, of
// which those that stand for a string are places in the list. The tables are part of the
// program and a test reads all of them, so there are no errors: past the end all is zero.
type reader struct {
	text    string
	at      int
	strings []string
}

func open(name string) *reader {
	f, err := tables.Open("tables/" + name + ".flate")
	if err != nil {
		return &reader{}
	}
	defer f.Close()
	var b strings.Builder
	if _, err := io.Copy(&b, flate.NewReader(f)); err != nil {
		return &reader{}
	}
	r := &reader{text: b.String()}
	lengths := make([]int, r.length())
	for i := range lengths {
		lengths[i] = r.number()
	}
	r.strings = make([]string, len(lengths))
	for i, n := range lengths {
		if r.at+n > len(r.text) {
			return &reader{}
		}
		r.strings[i] = r.text[r.at : r.at+n]
		r.at += n
	}
	return r
}

func (r *reader) number() int {
	n, shift := 0, 0
	for r.at < len(r.text) && shift < 63 {
		b := r.text[r.at]
		r.at++
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
		shift += 7
	}
	return 0
}

// length is the number of things that follow, each of which takes a byte or more.
func (r *reader) length() int { return min(r.number(), len(r.text)-r.at) }

func (r *reader) string() string {
	if n := r.number(); n < len(r.strings) {
		return r.strings[n]
	}
	return ""
}

func (r *reader) list() []string {
	n := r.length()
	if n == 0 {
		return nil
	}
	all := make([]string, n)
	for i := range all {
		all[i] = r.string()
	}
	return all
}

// pick is the element of a pool that the next number names. Element 0 is the empty one.
func pick[T any](r *reader, pool []T) (v T) {
	if n := r.number(); n < len(pool) {
		return pool[n]
	}
	return v
}

var index = sync.OnceValue(func() map[string]string {
	r := open("index")
	all := map[string]string{}
	for r.at < len(r.text) {
		table := r.string()
		for range r.length() {
			all[r.string()] = table
		}
	}
	return all
})

var invariants = sync.OnceValue(func() []Invariant {
	r := open("invariants")
	all := make([]Invariant, r.length())
	for i := range all {
		all[i] = Invariant{Key: r.string(), Warning: r.number() == 2, Human: r.string(), Expression: r.string(), Source: r.string(), Where: r.list()}
	}
	return all
})

// structures are those of one table by URL.
func structures(table string) map[string]*Structure {
	for i, name := range structureTables {
		if name == table {
			return decoded[i]()
		}
	}
	return nil
}

var structureTables = [...]string{"r4", "r4-profiles", "r4-extensions", "us-core", "phd", "pocd"}

var decoded = func() (all [len(structureTables)]func() map[string]*Structure) {
	for i, name := range structureTables {
		all[i] = sync.OnceValue(func() map[string]*Structure { return readStructures(open(name)) })
	}
	return all
}()

type typeTable struct {
	byName    map[string]*Structure
	resources []string
}

var types = sync.OnceValue(func() *typeTable {
	t := &typeTable{byName: map[string]*Structure{}}
	for _, s := range structures("r4") {
		if s.Profile {
			continue
		}
		t.byName[s.Type] = s
		if s.Kind == Resource && !s.Abstract {
			t.resources = append(t.resources, s.Type)
		}
	}
	sort.Strings(t.resources)
	return t
})

func readStructures(r *reader) map[string]*Structure {
	types := make([][]Type, r.length())
	for i := range types {
		if n := r.length(); n > 0 {
			types[i] = make([]Type, n)
		}
		for j := range types[i] {
			types[i][j] = Type{Code: r.string(), Profiles: r.list(), Targets: r.list()}
		}
	}
	bindings := make([]*Binding, r.length())
	for i := range bindings {
		if strength := r.number(); strength != 0 {
			bindings[i] = &Binding{Strength: Strength(strength), ValueSet: r.string(), Max: r.string()}
		}
	}
	known := invariants()
	rules := make([][]*Invariant, r.length())
	for i := range rules {
		for range r.length() {
			if n := r.number(); n < len(known) {
				rules[i] = append(rules[i], &known[n])
			}
		}
	}
	slicings := make([]*Slicing, r.length())
	for i := range slicings {
		kind := r.number()
		if kind == 0 {
			continue
		}
		s := &Slicing{Rules: SlicingRules(kind), Ordered: r.number() == 1}
		for range r.length() {
			s.Discriminators = append(s.Discriminators, Discriminator{DiscriminatorType(r.number()), r.string()})
		}
		slicings[i] = s
	}
	n := r.length()
	all := make(map[string]*Structure, n)
	for range n {
		s := &Structure{URL: r.string(), Version: r.string(), Name: r.string(), Type: r.string(), Base: r.string(), Kind: Kind(r.number())}
		flags := r.number()
		s.Profile, s.Abstract = flags&1 != 0, flags&2 != 0
		s.Contexts = r.list()
		s.Elements = make([]Element, max(1, r.length()))
		depths := make([]int, len(s.Elements))
		contents := map[int]string{}
		for i := range s.Elements {
			e := &s.Elements[i]
			depths[i] = r.number()
			e.Name, e.Choice = strings.CutSuffix(r.string(), "[x]")
			e.Slice = r.string()
			flags := r.number()
			e.List, e.MustSupport, e.Modifier, e.Summary, e.Attribute = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0, flags&16 != 0
			e.Min, e.Max = r.number(), r.number()-1
			e.Types = pick(r, types)
			e.Binding = pick(r, bindings)
			e.Invariants = pick(r, rules)
			e.Slicing = pick(r, slicings)
			if content := r.string(); content != "" {
				contents[i] = content
			}
			for _, v := range [...]struct {
				flag int
				to   **Value
			}{{32, &e.Fixed}, {64, &e.Pattern}, {128, &e.MinValue}, {256, &e.MaxValue}} {
				if flags&v.flag != 0 {
					*v.to = &Value{Type: r.string(), JSON: r.string()}
				}
			}
			if flags&512 != 0 {
				e.MaxLength = r.number()
			}
			if flags&1024 != 0 {
				e.Regex = r.string()
			}
		}
		link(s.Elements, depths)
		for i, id := range contents {
			s.Elements[i].Content = find(s.Root(), id)
		}
		all[s.URL] = s
	}
	return all
}

// link makes a tree of elements, which are in order of depth first: below an element its
// children, and after these, beside it, its slices.
func link(all []Element, depths []int) {
	above := make([]*Element, 0, 16) // the element last seen at each depth
	bases := make([]*Element, len(all))
	children, slices := map[*Element]int{}, map[*Element]int{}
	for i := range all {
		e := &all[i]
		d := min(depths[i], len(above))
		if d > 0 {
			e.Parent = above[d-1]
		}
		if e.Slice != "" && d < len(above) {
			bases[i] = above[d]
			if above[d].Slice != "" {
				bases[i] = nil
				for j := i - 1; j >= 0; j-- {
					if all[j].Parent == e.Parent && all[j].Name == e.Name && all[j].Slice == "" {
						bases[i] = &all[j]
						break
					}
				}
			}
		}
		if bases[i] != nil {
			slices[bases[i]]++
		} else if e.Parent != nil {
			children[e.Parent]++
		}
		above = append(above[:d], e)
	}
	pointers := make([]*Element, len(all))
	take := func(n int) []*Element {
		taken := pointers[:0:n]
		pointers = pointers[n:]
		return taken
	}
	for i := range all {
		e := &all[i]
		if n := children[e]; n > 0 {
			e.Children = take(n)
		}
		if n := slices[e]; n > 0 {
			e.Slices = take(n)
		}
	}
	for i := range all {
		e := &all[i]
		if bases[i] != nil {
			bases[i].Slices = append(bases[i].Slices, e)
		} else if e.Parent != nil {
			e.Parent.Children = append(e.Parent.Children, e)
		}
	}
}

// find is the element of an id, nil if there is none. Slices of it are not told apart: they
// have the same elements.
func find(root *Element, id string) *Element {
	steps := strings.Split(id, ".")
	at := root
next:
	for _, step := range steps[1:] {
		step, _, _ = strings.Cut(step, ":")
		step = strings.TrimSuffix(step, "[x]")
		for _, c := range at.Children {
			if c.Name == step {
				at = c
				continue next
			}
		}
		return nil
	}
	return at
}

var valueSets = sync.OnceValue(func() map[string]*CodeSet {
	r := open("valuesets")
	n := r.length()
	all := make(map[string]*CodeSet, n)
	for range n {
		c := &CodeSet{URL: r.string(), Open: r.number() == 1}
		c.Systems = make([]SystemCodes, r.length())
		for i := range c.Systems {
			s := &c.Systems[i]
			s.System = r.string()
			flags := r.number()
			s.Open, s.AnyCase = flags&1 != 0, flags&2 != 0
			for range r.length() {
				s.Partitions = append(s.Partitions, r.number())
			}
			s.Codes = r.list()
		}
		all[c.URL] = c
	}
	return all
})

type searchTable struct {
	parameters   map[string][]SearchParameter // by resource type
	compartments map[string]map[string][]string
}

var search = sync.OnceValue(func() *searchTable {
	r := open("search")
	bases := map[string][]SearchParameter{}
	for range r.length() {
		p := SearchParameter{Name: r.string(), Type: r.string(), URL: r.string(), Expression: r.string()}
		flags := r.number()
		p.MultipleOr, p.MultipleAnd = flags&1 != 0, flags&2 != 0
		p.Bases, p.Targets, p.Comparators, p.Modifiers = r.list(), r.list(), r.list(), r.list()
		for range r.length() {
			p.Components = append(p.Components, SearchComponent{r.string(), r.string()})
		}
		for _, base := range p.Bases {
			bases[base] = append(bases[base], p)
		}
	}
	t := &searchTable{map[string][]SearchParameter{}, map[string]map[string][]string{}}
	for _, name := range types().resources {
		var all []SearchParameter
		for at, ok := ForType(name); ok; at, ok = Lookup(at.Base) {
			all = append(all, bases[at.Type]...)
		}
		sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
		t.parameters[name] = all
	}
	for range r.length() {
		name := r.string()
		members := map[string][]string{}
		for range r.length() {
			of := r.string()
			members[of] = r.list()
		}
		t.compartments[name] = members
	}
	return t
})
