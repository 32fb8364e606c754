package validate

import (
	"bytes"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

const specNarrative = "http://hl7.org/fhir/R4/narrative.html#xhtml"

// maxMarkup is how deeply the elements of a narrative may be nested.
const maxMarkup = 100

// markupElements are the elements that a narrative may have: those of HTML 4.0, chapters 7
// to 11 (but not 9.4) and 15, without what is deprecated there, a and images.
var markupElements = set(`a abbr acronym address area b bdo big blockquote br caption cite code col colgroup dd dfn div dl dt
	em h1 h2 h3 h4 h5 h6 hr i img kbd li map ol p pre q samp small span strong sub sup table tbody td tfoot th thead tr tt ul var`)

// markupAttributes are those that any of these elements may have, and those that some may
// have in addition. None of them is an event.
var (
	markupAttributes = set(`class dir id lang style title xml:lang xml:space accesskey tabindex align char charoff valign width height`)
	markupOwn        = map[string]map[string]bool{
		"a":          set(`href name rel rev type charset hreflang`),
		"area":       set(`alt coords href nohref shape`),
		"blockquote": set(`cite`),
		"br":         set(`clear`),
		"caption":    {},
		"col":        set(`span`),
		"colgroup":   set(`span`),
		"div":        set(`xmlns`),
		"hr":         set(`noshade size`),
		"img":        set(`alt border hspace ismap longdesc src usemap vspace`),
		"li":         set(`type value`),
		"map":        set(`name`),
		"ol":         set(`compact start type`),
		"q":          set(`cite`),
		"table":      set(`bgcolor border cellpadding cellspacing frame rules summary`),
		"td":         set(`abbr axis bgcolor colspan headers nowrap rowspan scope`),
		"th":         set(`abbr axis bgcolor colspan headers nowrap rowspan scope`),
		"tr":         set(`bgcolor`),
		"ul":         set(`compact type`),
	}
)

func set(names string) map[string]bool {
	s := map[string]bool{}
	for n := range strings.FieldsSeq(names) {
		s[n] = true
	}
	return s
}

// narrative checks the XHTML of a Narrative, the string between start and end: txt-1, that
// it has the elements and attributes that are allowed only, and txt-2, that it says something.
// http://hl7.org/fhir/R4/narrative.html#xhtml
func (w *walker) narrative(start, end int) bool {
	if end-start == 2 {
		if w.refused() {
			w.errorAt(fhir.CodeValue, "", start, "a string is never empty", "leave the element out")
		}
		return false
	}
	if w.opt.Level == Structure {
		return true
	}
	x := markup{t: w.plain(start, end)}
	fault := x.div()
	if fault == "" {
		return true
	}
	if w.refused() {
		w.tell(fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeInvariant, Message: fault,
			Fix: "send one div of the XHTML namespace with plain formatting and something in it", Spec: specNarrative}, "", start)
	}
	return false
}

// markup is the text of a narrative while it is read, from left to right.
type markup struct {
	t    []byte
	at   int
	open [maxMarkup][]byte // the names of the elements that are open
	deep int
	said bool // there is text, or an image
}

// div reads the one element that a narrative is. It returns what is wrong, or "".
func (x *markup) div() string {
	x.blanks()
	if !bytes.HasPrefix(x.t[x.at:], []byte("<div")) {
		return "txt-1: the narrative is no div"
	}
	x.at++
	if fault := x.element(); fault != "" {
		return fault
	}
	for x.deep > 0 {
		var fault string
		switch {
		case x.at == len(x.t):
			return "txt-1: an element of the narrative is not closed"
		case x.take("<!--"):
			fault = x.until("-->")
		case x.take("<![CDATA["):
			x.said = true
			fault = x.until("]]>")
		case x.take("</"):
			fault = x.end()
		case x.take("<"):
			fault = x.element()
		case x.t[x.at] == '&':
			fault = x.entity()
		default:
			x.said = x.said || x.t[x.at] > ' '
			x.at++
		}
		if fault != "" {
			return fault
		}
	}
	x.blanks()
	switch {
	case x.at < len(x.t):
		return "txt-1: something follows the div of the narrative"
	case !x.said:
		return "txt-2: there is nothing in the narrative"
	}
	return ""
}

func (x *markup) blanks() {
	for x.at < len(x.t) && (x.t[x.at] == ' ' || x.t[x.at] == '\t' || x.t[x.at] == '\r' || x.t[x.at] == '\n') {
		x.at++
	}
}

func (x *markup) take(s string) bool {
	if len(x.t)-x.at < len(s) || string(x.t[x.at:x.at+len(s)]) != s {
		return false
	}
	x.at += len(s)
	return true
}

func (x *markup) until(s string) string {
	i := bytes.Index(x.t[x.at:], []byte(s))
	if i < 0 {
		return "txt-1: a comment or section of the narrative is not closed"
	}
	x.at += i + len(s)
	return ""
}

func (x *markup) name() []byte {
	from := x.at
	for x.at < len(x.t) {
		c := x.t[x.at]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != ':' && c != '-' && c != '_' && c != '.' {
			break
		}
		x.at++
	}
	return x.t[from:x.at]
}

// element reads a start tag after its <.
func (x *markup) element() string {
	name := x.name()
	if !markupElements[string(name)] {
		return "txt-1: the narrative has an element that is not allowed"
	}
	var seen [16][]byte
	n := 0
	namespace := false
	for {
		before := x.at
		x.blanks()
		switch {
		case x.at == len(x.t):
			return "txt-1: a tag of the narrative is not closed"
		case x.take("/>"):
			x.said = x.said || string(name) == "img"
			return x.namespaced(namespace)
		case x.take(">"):
			if x.deep == maxMarkup {
				return "txt-1: the narrative nests more than " + number(maxMarkup) + " elements"
			}
			x.said = x.said || string(name) == "img"
			fault := x.namespaced(namespace)
			x.open[x.deep] = name
			x.deep++
			return fault
		case x.at == before:
			return "txt-1: a tag of the narrative is not well-formed"
		}
		attribute := x.name()
		if !markupAttributes[string(attribute)] && !markupOwn[string(name)][string(attribute)] {
			return "txt-1: the narrative has an attribute that is not allowed"
		}
		for _, s := range seen[:n] {
			if bytes.Equal(s, attribute) {
				return "txt-1: an attribute of the narrative occurs twice: " + string(attribute)
			}
		}
		if n == len(seen) {
			return "txt-1: an element of the narrative has more than " + number(len(seen)) + " attributes"
		}
		seen[n] = attribute
		n++
		x.blanks()
		if !x.take("=") {
			return "txt-1: an attribute of the narrative has no value: " + string(attribute)
		}
		x.blanks()
		value, fault := x.value()
		if fault != "" {
			return fault
		}
		switch string(attribute) {
		case "xmlns":
			if string(value) != "http://www.w3.org/1999/xhtml" {
				return "txt-1: the namespace of the narrative is not http://www.w3.org/1999/xhtml"
			}
			namespace = true
		case "href", "src", "cite", "longdesc":
			if scripted(value) {
				return "txt-1: the narrative has a script in " + string(attribute)
			}
		}
	}
}

// namespaced demands that the outermost element says its namespace.
func (x *markup) namespaced(said bool) string {
	if x.deep == 0 && !said {
		return "txt-1: the div of the narrative does not say xmlns=\"http://www.w3.org/1999/xhtml\""
	}
	return ""
}

// value reads an attribute value with its quotes.
func (x *markup) value() (v []byte, fault string) {
	if x.at == len(x.t) || x.t[x.at] != '"' && x.t[x.at] != '\'' {
		return nil, "txt-1: the value of an attribute of the narrative has no quotes"
	}
	quote := x.t[x.at]
	x.at++
	from := x.at
	for x.at < len(x.t) {
		switch x.t[x.at] {
		case quote:
			x.at++
			return x.t[from : x.at-1], ""
		case '<':
			return nil, "txt-1: there is a < in an attribute of the narrative"
		case '&':
			if fault := x.entity(); fault != "" {
				return nil, fault
			}
		default:
			x.at++
		}
	}
	return nil, "txt-1: an attribute of the narrative is not closed"
}

// end reads an end tag after its </.
func (x *markup) end() string {
	name := x.name()
	x.blanks()
	if !x.take(">") || !bytes.Equal(name, x.open[x.deep-1]) {
		return "txt-1: an end tag of the narrative does not close the element that is open"
	}
	x.deep--
	return ""
}

// entity reads a reference to a character. Those of HTML, as &nbsp;, are not defined in XML.
func (x *markup) entity() string {
	end := bytes.IndexByte(x.t[x.at:min(len(x.t), x.at+12)], ';')
	if end < 0 {
		return "txt-1: there is a & in the narrative that is not written &amp;"
	}
	name := string(x.t[x.at+1 : x.at+end])
	x.at += end + 1
	switch {
	case slices.Contains([]string{"amp", "lt", "gt", "quot", "apos"}, name):
		x.said = true
		return ""
	case len(name) > 1 && name[0] == '#':
		x.said = x.said || name != "#160" && name != "#xA0" && name != "#xa0"
		base, number := "0123456789", name[1:]
		if number[0] == 'x' {
			base, number = "0123456789abcdefABCDEF", number[1:]
		}
		if number != "" && strings.Trim(number, base) == "" {
			return ""
		}
	}
	return "txt-1: the narrative has an entity that XML does not define: send the character itself"
}

// scripted reports whether a URL runs a script, whatever white space and case hide it.
func scripted(u []byte) bool {
	var head []byte
	for _, c := range u {
		if c > ' ' {
			head = append(head, c)
		}
		if len(head) == len("javascript:") {
			break
		}
	}
	head = bytes.ToLower(head)
	return bytes.HasPrefix(head, []byte("javascript:")) || bytes.HasPrefix(head, []byte("vbscript:"))
}
