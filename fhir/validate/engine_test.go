package validate

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/fhirpath"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// everyInvariant calls f for each invariant of all structures.
func everyInvariant(f func(v *definitions.Invariant)) {
	seen := map[*definitions.Invariant]bool{}
	for _, u := range definitions.URLs() {
		s, _ := definitions.Lookup(u)
		for i := range s.Elements {
			for _, v := range s.Elements[i].Invariants {
				if !seen[v] {
					seen[v] = true
					f(v)
				}
			}
		}
	}
}

func TestEveryInvariantIsInGoOrCompiles(t *testing.T) {
	p := compiled()
	inGo, compiles := 0, 0
	everyInvariant(func(v *definitions.Invariant) {
		if _, ok := p.native(v); ok {
			inGo++
			return
		}
		compiles++
		if _, err := fhirpath.Compile(evaluated(v)); err != nil {
			t.Errorf("%s of %s: %v", v.Key, v.Source, err)
		}
	})
	t.Logf("%d in Go, %d evaluated", inGo, compiles)
}

func TestEveryCorrectionIsOfAnInvariantAndSaysWhy(t *testing.T) {
	used := map[string]bool{}
	everyInvariant(func(v *definitions.Invariant) {
		if evaluated(v) == v.Expression {
			return
		}
		if _, ok := compiled().native(v); ok {
			t.Errorf("%s is in Go and corrected", v.Key)
		}
		used[evaluated(v)] = true
	})
	for key, c := range corrections {
		if !used[c.expression] || c.why == "" {
			t.Errorf("%s: used %t, because %q", key, used[c.expression], c.why)
		}
	}
}

// meant are the expressions that invariants in Go are compared with where the published one
// is not what the rule says, and why.
var meant = map[string]correction{
	"eld-19": {`path.matches('^[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\.[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\[x\\])?(\\:[^\\s\\.]+)?)*$')`,
		"the whole path is meant, and matches() looks for a part"},
	"eld-20": {`path.matches('^[A-Za-z][A-Za-z0-9]*(\\.[a-z][A-Za-z0-9]*(\\[x])?)*$')`,
		"the whole path is meant, and matches() looks for a part"},
	"eld-11": {`binding.empty() or type.code.empty() or type.where((code = 'code') or (code = 'Coding') or (code='CodeableConcept') or (code = 'Quantity') or (code = 'string') or (code = 'uri')).exists()`,
		"select() gives a truth for each type, so that exists() is never false: http://hl7.org/fhir/R4/elementdefinition.html#ElementDefinition.binding"},
}

// A twice is a plan that compares what an invariant in Go says with what its expression does.
type twice struct {
	plan  *plan
	asked map[string]int
	no    map[string]int
	apart map[string]string // where they differ
}

func compareTwice() *twice {
	c := &twice{asked: map[string]int{}, no: map[string]int{}, apart: map[string]string{}}
	known := natives()
	for key, n := range known {
		if n.make == nil {
			continue
		}
		bare, where, _ := strings.Cut(key, " ")
		var v *definitions.Invariant
		for _, i := range definitions.Invariants(bare) {
			if v == nil && where == "" || where != "" && slices.Contains(i.Where, where) {
				v = i
			}
		}
		source := v.Expression
		if m, ok := meant[key]; ok {
			source = m.expression
		}
		x, err := fhirpath.Compile(source)
		if err != nil {
			c.apart[key] = err.Error()
			continue
		}
		own := n.make
		n.make = func(p *plan, of *class) check {
			f := own(p, of)
			if f == nil {
				return nil
			}
			return func(w *walker, n int, has uint64) bool {
				ours := f(w, n, has)
				start := int(w.nodes[n].start)
				in := fhirpath.Input{Element: w.body[start:w.skip(start)], Type: w.typeAt(n)}
				if x.Uses("resource") || x.Uses("rootResource") {
					in.Resource, in.Root = w.around(n)
				}
				truth, err := x.Truth(context.Background(), in)
				c.asked[key]++
				if !ours {
					c.no[key]++
				}
				if (truth == fhirpath.True) != ours && w.errors == 0 {
					shown := in.Element
					if len(shown) > 300 {
						shown = shown[:300]
					}
					c.apart[key] = fmt.Sprintf("in Go %t, evaluated %d %v: %s", ours, truth, err, shown)
				}
				return ours
			}
		}
		known[key] = n
	}
	c.plan = newPlan(known)
	return c
}

func (c *twice) judge(body []byte, opt *Options) {
	w := &walker{plan: c.plan}
	w.begin(body, opt)
	if w.json() {
		w.root()
	}
	w.end()
}

// apart are the invariants in Go that judge otherwise than their expressions do, and the
// section that settles it.
var apart = map[string]string{
	"bdl-8": "an entry without a fullUrl has none with a version, and the expression has no answer: http://hl7.org/fhir/R4/bundle-definitions.html#Bundle.entry.fullUrl",
	"vs-1":  "a Period or Timing is no dateTime, and the expression has no answer: http://hl7.org/fhir/R4/observation-vitalsigns.html",
	"rng-2": "the engine does not compare Quantities: http://hl7.org/fhir/R4/fhirpath.html#quantity",
}

// unasked are those that cannot be compared: the walk checks them, or no element has them.
var unasked = map[string]string{
	"dom-3":  "checked by the walk",
	"ele-1":  "checked by the walk",
	"ref-1":  "checked by the walk",
	"txt-1":  "checked by the walk; the engine has no htmlChecks()",
	"txt-2":  "checked by the walk; the engine has no htmlChecks()",
	"mqty-1": "no element of R4 is a MoneyQuantity",
}

func TestInvariantsInGoJudgeAsTheirExpressionsDo(t *testing.T) {
	c := compareTwice()
	for _, b := range slices.Concat(breaches(), moreBreaches()) {
		c.judge([]byte(b.holds), &Options{Recommended: Tell})
		c.judge([]byte(b.broken), &Options{Recommended: Tell})
	}
	for _, b := range claims() {
		opt := &Options{Recommended: Tell}
		if b.profile != "" {
			opt.Profiles = []string{b.profile}
		}
		c.judge([]byte(b.holds), opt)
		c.judge([]byte(b.broken), opt)
	}
	for key, where := range c.apart {
		if apart[key] == "" {
			t.Errorf("%s: %s", key, where)
		}
	}
	for key := range natives() {
		if c.no[key] == 0 && unasked[key] == "" {
			t.Errorf("%s is never false (asked %d times)", key, c.asked[key])
		}
	}
	for key := range apart {
		if c.apart[key] == "" {
			t.Logf("%s does not judge otherwise here", key)
		}
	}
}

// Official examples and random changes of them, of which most break a rule.
func TestInvariantsInGoJudgeExamplesAsTheirExpressionsDo(t *testing.T) {
	fhirtest.Long(t)
	c := compareTwice()
	all := examples(t, "r4/examples/*/*.json", "phd/examples/*.json", "pocd/examples/*.json")
	random := rand.New(rand.NewPCG(3, 4))
	pieces := []string{`null`, `true`, `-1`, `0`, `1.5`, `99`, `"x"`, `"2024"`, `"1999-01-01T00:00:00Z"`, `"*"`, `"http://a/b"`, `"final"`}
	for _, file := range sorted(all) {
		if len(all[file]) > 100_000 {
			continue
		}
		c.judge(all[file], &Options{Recommended: Tell})
		for range 4 {
			c.judge(change(random, all[file], pieces[random.IntN(len(pieces))]), &Options{Recommended: Tell})
			c.judge(drop(random, all[file]), &Options{Recommended: Tell})
		}
	}
	for key, where := range c.apart {
		if apart[key] == "" {
			t.Errorf("%s: %s", key, where)
		}
	}
}

// drop leaves a random member out.
func drop(random *rand.Rand, body []byte) []byte {
	w := &walker{body: body}
	var members [][2]int
	var find func(i int) int
	find = func(i int) int {
		switch body[i] {
		case '{', '[':
			object := body[i] == '{'
			i = w.blank(i + 1)
			for body[i] != '}' && body[i] != ']' {
				if body[i] == ',' {
					i = w.blank(i + 1)
				}
				start := i
				if object {
					i = w.blank(w.blank(w.endOfString(i)) + 1)
				}
				end := find(i)
				i = w.blank(end)
				members = append(members, [2]int{start, end})
			}
			return i + 1
		}
		return w.skip(i)
	}
	find(w.blank(0))
	at := members[random.IntN(len(members))]
	before, after := bytes.TrimRight(body[:at[0]], " \r\n\t"), bytes.TrimLeft(body[at[1]:], " \r\n\t")
	if b, ok := bytes.CutSuffix(before, []byte(",")); ok {
		before = b
	} else {
		after = bytes.TrimPrefix(after, []byte(","))
	}
	return []byte(string(before) + string(after))
}

func TestRulesThatAreTooCostlyAreNamed(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"resourceType":"Bundle","type":"collection","entry":[`)
	for i := range 40_000 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"resource":{"resourceType":"Linkage","item":[{"type":"source","resource":{"display":"x"}},{"type":"alternate","resource":{"display":"x"}}]}}`)
	}
	b.WriteString(`]}`)
	r := Resource([]byte(b.String()), &Options{Level: Invariants})
	named := 0
	for _, f := range r.Found {
		if strings.HasPrefix(f.Message, "lnk-1 was not checked") {
			named++
			if f.Severity != fhir.Information || f.Code != fhir.CodeTooCostly || !strings.HasSuffix(f.Path, ".resource") {
				t.Errorf("got %+v", f)
			}
		}
	}
	if !r.Valid() || named != 1 {
		t.Errorf("told %d times that it was left out: %v", named, r.Issues())
	}
}

func TestExpressionsSeeTheResourceThatTheyAreIn(t *testing.T) {
	team := `{"resourceType":"CareTeam","contained":[{"resourceType":"Practitioner","id":"p"}],"participant":[{"member":{"reference":"#p"},"onBehalfOf":{"display":"x"}}]}`
	body := `{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient"}},{"resource":` + team + `},{"resource":` + strings.Replace(team, "Practitioner", "Patient", 1) + `}]}`
	var paths []string
	for _, f := range Resource([]byte(body), &Options{Level: Invariants}).Found {
		if strings.HasPrefix(f.Message, "ctm-1:") {
			paths = append(paths, f.Path)
		}
	}
	if want := []string{"Bundle.entry[2].resource.participant[0]"}; !slices.Equal(paths, want) {
		t.Errorf("got %v, want %v", paths, want)
	}
}

// A megabyte of what has the most rules for its size.
func TestExpressionsCostNoMoreThanTheirLimit(t *testing.T) {
	fhirtest.Long(t)
	const size = 1 << 20
	repeated := func(before, each, after string) string {
		return before + strings.Repeat(each+",", size/(len(each)+1)) + each + after
	}
	nested := strings.Repeat(`{"linkId":"a","type":"group","item":[`, 29)
	for about, body := range map[string]string{
		"items":        repeated(`{"resourceType":"Questionnaire","item":[`, `{"linkId":"a","type":"string"}`, `]}`),
		"nested items": repeated(`{"resourceType":"Questionnaire","item":[`+nested, `{"linkId":"a","type":"string"}`, strings.Repeat(`]}`, 29)+`]}`),
		"elements":     repeated(`{"resourceType":"StructureDefinition","snapshot":{"element":[`, `{"id":"a","path":"a"}`, `]}}`),
		"companions":   repeated(`{"resourceType":"Questionnaire","item":[`, `{"linkId":"a","type":"string","_prefix":{"extension":[{"url":"http://a","valueCode":"a"}]}}`, `]}`),
		"operations":   repeated(`{"resourceType":"TestScript","setup":{"action":[`, `{"operation":{"sourceId":"a","encodeRequestUrl":true}}`, `]}}`),
		"concepts":     repeated(`{"resourceType":"CodeSystem","concept":[`, `{"code":"a"}`, `]}`),
		"groups":       repeated(`{"resourceType":"ImplementationGuide","definition":{"grouping":[{"id":"a","name":"a"}],"resource":[`, `{"reference":{"display":"x"},"groupingId":"a"}`, `]}}`),
		"participants": repeated(`{"resourceType":"CareTeam","participant":[`, `{"onBehalfOf":{"display":"x"},"member":{"reference":"Practitioner/1"}}`, `]}`),
		"resources":    repeated(`{"resourceType":"Bundle","type":"collection","entry":[`, `{"resource":{"resourceType":"Basic","code":{"text":"x"}}},{"resource":{"resourceType":"Linkage","item":[{"type":"source","resource":{"display":"x"}},{"type":"source","resource":{"display":"x"}}]}}`, `]}`),
	} {
		t.Run(about, func(t *testing.T) {
			Resource([]byte(`{"resourceType":"Patient"}`), nil)
			start := time.Now()
			r := Resource([]byte(body), &Options{Level: Invariants})
			took := time.Since(start)
			t.Logf("%v, %d errors", took, r.Errors)
			if took > 20*time.Second {
				t.Errorf("takes %v", took)
			}
		})
	}
}
