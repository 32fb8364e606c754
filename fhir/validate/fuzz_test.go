package validate

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// FuzzResource looks for bodies that make Resource panic, say where something is that is
// not in the body, or take for JSON what jsontext does not.
func FuzzResource(f *testing.F) {
	f.Add([]byte(heartRate))
	f.Add([]byte(pulse))
	f.Add([]byte(bloodPressure(usCore + "us-core-blood-pressure")))
	f.Add(transaction(2))
	for _, make := range hostile {
		f.Add([]byte(make(300)))
	}
	f.Add([]byte(`{"resourceType":"Patient","name":[{"given":["A",null],"_given":[null,{"id":"a"}]}],"contained":[{"resourceType":"Patient","id":"a"}]}`))
	f.Add([]byte(observation(`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">&#160;<p class='a'>x</p></div>"},"valueDecimal":1e9`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		same := bytes.Clone(body)
		r := Resource(body, &Options{Recommended: Tell, MustSupport: true, Profiles: []string{r4 + "bp"}})
		if !bytes.Equal(body, same) {
			t.Fatal("the body was changed")
		}
		if !jsontext.Value(body).IsValid(jsontext.AllowDuplicateNames(true)) && r.Valid() {
			t.Fatal("what is no JSON is valid")
		}
		if r.Valid() && !jsontext.Value(body).IsValid() {
			t.Fatal("a name occurs twice")
		}
		if (r.Errors == 0) != r.Valid() || len(r.Found) > maxIssues {
			t.Fatalf("%d errors, %d issues", r.Errors, len(r.Found))
		}
		text := 0
		for _, i := range r.Found {
			if i.Offset < 0 || i.Offset > len(body) || i.Line < 1 || i.Column < 1 || i.Message == "" || i.Spec == "" || strings.HasSuffix(i.Message, ".") {
				t.Fatalf("%+v", i)
			}
			text += len(i.Path) + len(i.Message) + len(i.Fix) + len(i.Spec)
		}
		if text > 64<<10 {
			t.Fatalf("%d bytes of issues", text)
		}
		if again := Resource(body, &Options{Recommended: Tell, MustSupport: true, Profiles: []string{r4 + "bp"}}); len(again.Found) != len(r.Found) || again.Errors != r.Errors {
			t.Fatal("the same body is judged in another way")
		}
	})
}

// FuzzNarrative looks for XHTML that is accepted and has what must not be in it.
func FuzzNarrative(f *testing.F) {
	for _, s := range []string{`<p>x</p>`, `<a href="http://a">x</a>`, `<img src='#a' alt="b"/>`, `<!-- c -->&amp;&#160;`, `<table><tr><td colspan="2">x</td></tr></table>`, `<![CDATA[x]]>`} {
		f.Add(`<div xmlns="http://www.w3.org/1999/xhtml">` + s + `</div>`)
	}
	f.Fuzz(func(t *testing.T, div string) {
		x := markup{t: []byte(div)}
		if x.div() != "" {
			return
		}
		// Comments and sections hold any text.
		if strings.Contains(div, "<!") {
			return
		}
		lower := strings.ToLower(div)
		for _, bad := range []string{"<script", "<iframe", "<object", "<form", "<style", "onclick=", "<?"} {
			if i := strings.Index(lower, bad); i >= 0 && !strings.Contains(lower, `"`) && !strings.Contains(lower, `'`) {
				t.Fatalf("accepted with %s", bad)
			}
			if bad[0] == '<' && strings.Contains(lower, bad) {
				t.Fatalf("accepted with %s", bad)
			}
		}
	})
}

// FuzzAgainstGoogle looks for bodies that Google's jsonformat judges in another way than
// we do, for reasons that are not in the tables.
func FuzzAgainstGoogle(f *testing.F) {
	u := google(f)
	f.Add([]byte(heartRate))
	f.Add([]byte(pulse))
	f.Add([]byte(bloodPressure(r4 + "bp")))
	f.Add([]byte(patient(`"name":[{"family":"x","given":["a","b"]}],"birthDate":"1970-01-01","deceasedBoolean":false,"photo":[{"contentType":"image/png","data":"YQ==","size":1}]`)))
	f.Add([]byte(`{"resourceType":"DeviceMetric","type":{"text":"x"},"category":"measurement","measurementPeriod":{"repeat":{"period":1.5,"periodUnit":"h","timeOfDay":["08:30:00"]}}}`))
	f.Add([]byte(value("valueUri", "\"http://a.`b/\"")))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 2000 {
			return
		}
		r := Resource(body, &Options{Level: Structure})
		_, err := u.Unmarshal(body)
		switch {
		case err == nil && !r.Valid() && !excused(stricter, firstError(r)):
			t.Errorf("google accepts, we say %v", r.Issues())
		case err != nil && r.Valid() && !excused(laxer, err.Error()) && !strangeURI(r, err):
			t.Errorf("we accept, google says %v", err)
		}
	})
}

// strangeURI reports whether jsonformat refuses a URI for characters that we warn of: many
// have them, and the standard does not say that each must be one of RFC 3986 to the letter. http://hl7.org/fhir/R4/datatypes.html#uri
func strangeURI(r Result, err error) bool {
	return strings.Contains(err.Error(), "invalid uri") && slices.ContainsFunc(r.Found, func(f Found) bool {
		return f.Severity == fhir.Warning && strings.Contains(f.Message, "characters that a URI does not have")
	})
}
