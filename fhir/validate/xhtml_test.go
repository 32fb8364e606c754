package validate

import (
	"encoding/json"
	"strings"
	"testing"
)

func narrative(t testing.TB, div string) []byte {
	t.Helper()
	quoted, err := json.Marshal(div)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(observation(`"text":{"status":"generated","div":` + string(quoted) + `}`))
}

func TestNarratives(t *testing.T) {
	in := func(s string) string { return `<div xmlns="http://www.w3.org/1999/xhtml">` + s + `</div>` }
	for _, good := range []string{
		in("x"), in("<p>a<br/>b</p>"), in(`<table class="grid"><tbody><tr><td colspan="2">1 &lt; 2 &amp; &#233; &#xE9;</td></tr></tbody></table>`),
		in(`<a href="http://example.org/">x</a> <a name="y"/>`), in(`<img src="#image" alt="x"/>`), in("<!-- c --> x"), in("<![CDATA[ a < b ]]>"),
		in(`<p style='color: red' lang="en" xml:lang="en">x</p>`), " " + in("x") + "\n", `<div  class="a"
			xmlns = "http://www.w3.org/1999/xhtml" >x</div >`, in("&#160;x"), in(strings.Repeat("<b>", 99) + "x" + strings.Repeat("</b>", 99)),
	} {
		if r := Resource(narrative(t, good), nil); len(r.Found) > 0 {
			t.Errorf("%s: got %v", good, r.Issues())
		}
	}
	for _, c := range []struct{ about, div, message string }{
		{"no div", "<p>x</p>", "no div"},
		{"text alone", "x", "no div"},
		{"another element that begins like div", `<divx xmlns="http://www.w3.org/1999/xhtml">x</divx>`, "not allowed"},
		{"no namespace", "<div>x</div>", "does not say xmlns"},
		{"another namespace", `<div xmlns="http://www.w3.org/2000/svg">x</div>`, "namespace"},
		{"nothing", in(" \n "), "txt-2"},
		{"only a blank that does not break", in("&#160;"), "txt-2"},
		{"an empty element", `<div xmlns="http://www.w3.org/1999/xhtml"/>`, "txt-2"},
		{"a script", in("<script>alert(1)</script>"), "not allowed"},
		{"an upper-case element", in("<P>x</P>"), "not allowed"},
		{"a form", in("<form><input/></form>"), "not allowed"},
		{"an event", in(`<p onclick="x()">x</p>`), "not allowed"},
		{"a script in a link", in(`<a href=" java script:x">x</a>`), "script"},
		{"an attribute of another element", in(`<p href="x">x</p>`), "not allowed"},
		{"an attribute twice", in(`<p class="a" class="b">x</p>`), "twice"},
		{"an attribute without quotes", in(`<p class=a>x</p>`), "no quotes"},
		{"an attribute without value", in(`<p class>x</p>`), "no value"},
		{"attributes that touch", in(`<p class="a"id="b">x</p>`), "not well-formed"},
		{"elements that overlap", in("<b><i>x</b></i>"), "does not close"},
		{"an element that is not closed", `<div xmlns="http://www.w3.org/1999/xhtml"><p>x</p>`, "not closed"},
		{"a tag that is not closed", `<div xmlns="http://www.w3.org/1999/xhtml"><p`, "not closed"},
		{"a comment that is not closed", in("<!-- x "), "not closed"},
		{"something after it", in("x") + "<p/>", "follows"},
		{"an entity of HTML", in("a&nbsp;b"), "entity"},
		{"a bare ampersand", in("a & b"), "&"},
		{"a character reference without a number", in("&#x;"), "entity"},
		{"a processing instruction", in("<?php x ?>"), "not allowed"},
		{"too many levels", in(strings.Repeat("<b>", 100) + "x" + strings.Repeat("</b>", 100)), "nests"},
		{"a less-than in an attribute", in(`<p title="<">x</p>`), "< in an attribute"},
	} {
		r := Resource(narrative(t, c.div), nil)
		if r.Errors != 1 || r.Found[0].Path != "Observation.text.div" || !strings.Contains(r.Found[0].Message, c.message) {
			t.Errorf("%s: got %v, want …%s…", c.about, r.Issues(), c.message)
		}
	}
}
