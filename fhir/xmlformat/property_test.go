package xmlformat_test

import (
	"bytes"
	stdxml "encoding/xml"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/xmlformat"
)

// A drawn value is the canonical JSON of something, and the same with its members in another order.
type drawn struct{ canonical, shuffled string }

// A drawer draws resources from the definitions.
type drawer struct{ t *rapid.T }

func (d drawer) resource(depth int) drawn {
	names := []string{"Patient", "Observation", "Device", "Bundle", "Parameters", "Questionnaire", "Basic"}
	name := rapid.SampledFrom(names).Draw(d.t, "type")
	s, _ := definitions.ForType(name)
	first := drawn{`"resourceType":"` + name + `"`, `"resourceType":"` + name + `"`}
	return d.join(append([]drawn{first}, d.members(s.Root(), depth)...))
}

// join makes an object of members.
func (d drawer) join(members []drawn) drawn {
	var canonical, shuffled []string
	for _, m := range members {
		canonical = append(canonical, m.canonical)
	}
	for _, m := range rapid.Permutation(members).Draw(d.t, "order") {
		shuffled = append(shuffled, m.shuffled)
	}
	return drawn{"{" + strings.Join(canonical, ",") + "}", "{" + strings.Join(shuffled, " ,\n") + "}"}
}

// members are some elements of e; one that is no id at least if e is not a resource.
func (d drawer) members(e *definitions.Element, depth int) []drawn {
	var members []drawn
	wanted := rapid.SliceOfN(rapid.IntRange(0, len(e.Children)-1), 1, 4).Draw(d.t, "elements")
	for i, c := range e.Children {
		ask := false
		for _, w := range wanted {
			ask = ask || w == i
		}
		if ask {
			members = append(members, d.element(c, depth)...)
		}
	}
	return members
}

// element is the member of an element, and the one beside it; nothing if it would be too deep.
func (d drawer) element(c *definitions.Element, depth int) []drawn {
	name, typeName := c.Name, ""
	if len(c.Types) > 0 {
		typeName = c.Types[rapid.IntRange(0, len(c.Types)-1).Draw(d.t, "choice")].Code
	}
	if c.Choice {
		name += definitions.JSONType(typeName)
	}
	n := 1
	if c.List {
		n = rapid.IntRange(1, 3).Draw(d.t, "items")
	}
	s, _ := definitions.ForType(typeName)
	if typeName != "Resource" && typeName != "xhtml" && s != nil && s.Kind == definitions.Primitive {
		return d.primitives(c, name, typeName, n, depth)
	}
	var items []drawn
	for range n {
		switch {
		case typeName == "xhtml":
			div := rapid.SampledFrom(divs).Draw(d.t, "div")
			items = append(items, drawn{quote(div), quote(div)})
		case depth == 0:
		case typeName == "Resource":
			items = append(items, d.resource(depth-1))
		default:
			inside := c
			if c.Content != nil {
				inside = c.Content
			} else if len(c.Children) == 0 {
				inside = s.Root()
			}
			if members := d.members(inside, depth-1); filled(members) {
				items = append(items, d.join(members))
			}
		}
	}
	if len(items) == 0 {
		return nil
	}
	return []drawn{member(name, c.List, items)}
}

var divs = []string{
	`<div xmlns="http://www.w3.org/1999/xhtml">a</div>`,
	"<div xmlns='http://www.w3.org/1999/xhtml' title=\"a&#xA;b\">\r\n\t<p>é&lt;&#160;]]&gt;</p><br/><br /><!-- c --></div>",
	`<div id="a" xmlns="http://www.w3.org/1999/xhtml" xml:lang="en"><p xmlns="http://www.w3.org/1999/xhtml">{"a":[1]}\</p></div>`,
}

// filled reports whether there is more than an id.
func filled(members []drawn) bool {
	return len(members) > 1 || len(members) == 1 && !strings.HasPrefix(members[0].canonical, `"id"`)
}

func member(name string, list bool, items []drawn) drawn {
	var m drawn
	for i, item := range items {
		if i > 0 {
			m.canonical += ","
			m.shuffled += ", "
		}
		m.canonical += item.canonical
		m.shuffled += item.shuffled
	}
	if list {
		m = drawn{"[" + m.canonical + "]", "[ " + m.shuffled + "]"}
	}
	return drawn{`"` + name + `":` + m.canonical, `"` + name + `" : ` + m.shuffled}
}

func (d drawer) primitives(c *definitions.Element, name, typeName string, n, depth int) []drawn {
	if c.Attribute {
		typeName = "uri" // ids are strings without blanks
	}
	var values, companions []drawn
	valued, extended := false, false
	null := drawn{"null", "null"}
	for range n {
		value, companion := null, null
		if depth > 0 && !c.Attribute && rapid.IntRange(0, 4).Draw(d.t, "extended") == 0 {
			s, _ := definitions.ForType("Element")
			if members := d.members(s.Root(), depth-1); filled(members) {
				companion, extended = d.join(members), true
			}
		}
		if companion == null || rapid.Bool().Draw(d.t, "valued") {
			v := d.value(typeName)
			value, valued = drawn{v, v}, true
		}
		values, companions = append(values, value), append(companions, companion)
	}
	var members []drawn
	if valued {
		members = append(members, member(name, c.List, values))
	}
	if extended {
		members = append(members, member("_"+name, c.List, companions))
	}
	return members
}

func (d drawer) value(typeName string) string {
	switch typeName {
	case "boolean":
		return rapid.SampledFrom([]string{"true", "false"}).Draw(d.t, "boolean")
	case "integer", "positiveInt", "unsignedInt":
		return fmt.Sprint(rapid.Int32().Draw(d.t, "integer"))
	case "decimal":
		return rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?`).Draw(d.t, "decimal")
	case "string", "markdown":
		return quote(rapid.StringOf(rapid.RuneFrom([]rune("ab <>&\"'\\/\t\r\n;#é漢😀\u007f\u0085\u2028\ufffd"))).
			Filter(func(s string) bool { return strings.Trim(s, " \t\r\n") != "" }).Draw(d.t, "string"))
	}
	return quote(rapid.StringMatching(`[!-~é]([ -~]{0,10}[!-~])?`).Draw(d.t, typeName))
}

func quote(s string) string {
	b, _ := jsontext.AppendQuote(nil, s)
	return string(b)
}

func TestAnyResourceKeepsItsValuesWhateverTheOrderOfItsMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawer{t}.resource(6)
		document, err := xmlformat.FromJSON([]byte(r.shuffled))
		if err != nil {
			t.Fatalf("FromJSON: %v\n%s", err, r.shuffled)
		}
		canonical, err := xmlformat.FromJSON([]byte(r.canonical))
		if err != nil || !bytes.Equal(canonical, document) {
			t.Fatalf("the order of members is not indifferent: %v\n%s\n%s", err, canonical, document)
		}
		got, err := xmlformat.ToJSON(document)
		if err != nil {
			t.Fatalf("ToJSON: %v\n%s", err, document)
		}
		if string(got) != r.canonical {
			t.Fatalf("\n got %s\nwant %s\n xml %s", got, r.canonical, document)
		}
	})
}

func TestTheSameXMLInOtherWordsIsTheSameResource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawer{t}.resource(5)
		document, err := xmlformat.FromJSON([]byte(r.canonical))
		if err != nil {
			t.Fatal(err)
		}
		other := reworded(t, document)
		got, err := xmlformat.ToJSON(other)
		if err != nil {
			t.Fatalf("%v\n%s", err, other)
		}
		if string(got) != r.canonical {
			t.Fatalf("\n got %s\nwant %s\n xml %s", got, r.canonical, other)
		}
	})
}

// reworded is a document that means the same as the one that FromJSON made: with a prefix for FHIR,
// other quotes, references, white space, comments and instructions.
func reworded(t *rapid.T, document []byte) []byte {
	prefix := rapid.SampledFrom([]string{"", "f:", "fhir.-2:"}).Draw(t, "prefix")
	gap := rapid.SampledFrom([]string{"", "\n", " \r\n\t", "<!-- <a b='&c;'> -->", "<?a ?>", " <!----> "})
	var out strings.Builder
	d := stdxml.NewDecoder(bytes.NewReader(document))
	begin, depth := int64(0), 0 // of the narrative that is open
	first := true
	for {
		token, err := d.RawToken()
		if err != nil {
			return []byte(out.String())
		}
		switch token := token.(type) {
		case stdxml.StartElement:
			if depth > 0 || token.Name.Local == "div" {
				depth++
				continue
			}
			out.WriteString(gap.Draw(t, "gap") + "<" + prefix + token.Name.Local)
			for _, a := range token.Attr {
				if a.Name.Local == "xmlns" {
					continue
				}
				q := rapid.SampledFrom([]string{`"`, `'`}).Draw(t, "quote")
				out.WriteString("\n" + a.Name.Local + " =" + q)
				for _, c := range a.Value {
					switch how := rapid.IntRange(0, 9).Draw(t, "reference"); {
					case how == 0:
						fmt.Fprintf(&out, "&#%d;", c)
					case how == 1:
						fmt.Fprintf(&out, "&#x0%X;", c)
					case c == ' ' && how < 5:
						out.WriteString("\r\n")
					case c == '>':
						out.WriteString("&gt;")
					case strings.ContainsRune("<&\"'\t\r\n", c):
						fmt.Fprintf(&out, "&#x%x;", c)
					default:
						out.WriteRune(c)
					}
				}
				out.WriteString(q)
			}
			if first {
				first = false
				out.WriteString(` xmlns` + strings.TrimSuffix(":"+prefix, ":") + `='http://hl7.org/fhir'`)
			}
			out.WriteString(">")
		case stdxml.EndElement:
			switch {
			case depth > 1:
				depth--
				continue
			case depth == 1:
				depth = 0
				out.WriteString(gap.Draw(t, "gap"))
				out.Write(document[begin:d.InputOffset()])
			default:
				out.WriteString(gap.Draw(t, "gap") + "</" + prefix + token.Name.Local + "\n>")
			}
		}
		if depth == 0 {
			begin = d.InputOffset()
		}
	}
}
