package xmlformat_test

import (
	"bytes"
	stdxml "encoding/xml"
	"io"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/xmlformat"
)

var seedsXML = []string{
	`<Patient @/>`,
	`<Patient @><id value="p"/><text><status value="generated"/><div §><p>a&amp;b<br/></p><!-- c --><![CDATA[d]]><?e f?></div></text></Patient>`,
	`<f:Patient xmlns:f="http://hl7.org/fhir" xmlns:h="http://www.w3.org/1999/xhtml"><f:text><h:div><h:p a='b'/></h:div></f:text></f:Patient>`,
	`<Patient @><active id="a" value="true"><extension url="u"><valueDecimal value="1.50"/></extension></active><name><given value="a"/><given id="b" value="b"/></name></Patient>`,
	`<Observation @><contained><Patient><birthDate value="1970"/></Patient></contained><valueQuantity><value value="-1.50e+3"/></valueQuantity></Observation>`,
	`<?xml version="1.0" encoding="UTF-8"?><Bundle @><entry><resource><Device><id value="&#x41;"/></Device></resource></entry></Bundle>`,
	`<!DOCTYPE a [<!ENTITY b "c">]><Patient @><id value="&b;"/></Patient>`,
}

var seedsJSON = []string{
	`{"resourceType":"Patient"}`,
	`{"resourceType":"Patient","active":true,"_active":{"id":"a","extension":[{"url":"u","valueDecimal":1.50}]},"name":[{"given":["a",null],"_given":[null,{"extension":[{"url":"u","valueString":"\t\"<é"}]}]}]}`,
	`{"name":[{"text":"a"}],"id":"p","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a&amp;b</p><!-- c --></div>","status":"generated"},"resourceType":"Patient"}`,
	`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation","contained":[{"resourceType":"Device","id":"d"}],"valueQuantity":{"value":-1.50e+3}}}]}`,
	`{"resourceType":"Patient","text":{"div":"<div>a<![CDATA[<]]><?b c?></div>"}}`,
}

// FuzzToJSON: what is accepted is well-formed for encoding/xml too, and makes JSON that fhir.Parse takes
// as it is and that comes back from XML the same.
func FuzzToJSON(f *testing.F) {
	for _, s := range seedsXML {
		f.Add([]byte(expand(s)))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		json, err := xmlformat.ToJSON(document)
		if err != nil {
			checkError(t, err)
			return
		}
		for d := stdxml.NewDecoder(bytes.NewReader(document)); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("encoding/xml refuses what was accepted: %v", err)
			}
		}
		if _, _, compact, err := fhir.Parse(json); err != nil || !bytes.Equal(compact, json) {
			t.Fatalf("fhir.Parse does not keep %s: %v", json, err)
		}
		again, err := xmlformat.FromJSON(json)
		if err != nil {
			t.Fatalf("FromJSON refuses %s: %v", json, err)
		}
		back, err := xmlformat.ToJSON(again)
		if err != nil || !bytes.Equal(back, json) {
			t.Fatalf("\nfrom %s\n  to %s: %v", json, back, err)
		}
	})
}

// FuzzFromJSON: what is accepted makes XML that is read again, and that is the same after another turn.
func FuzzFromJSON(f *testing.F) {
	for _, s := range seedsJSON {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, json []byte) {
		document, err := xmlformat.FromJSON(json)
		if err != nil {
			checkError(t, err)
			return
		}
		checkOrder(t, document)
		canonical, err := xmlformat.ToJSON(document)
		if err != nil {
			t.Fatalf("ToJSON refuses %s: %v", document, err)
		}
		again, err := xmlformat.FromJSON(canonical)
		if err != nil {
			t.Fatalf("FromJSON refuses %s: %v", canonical, err)
		}
		back, err := xmlformat.ToJSON(again)
		if err != nil || !bytes.Equal(back, canonical) {
			t.Fatalf("\nfrom %s\n  to %s: %v", canonical, back, err)
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	e, ok := err.(*fhir.Error)
	if !ok || len(e.Issues) != 1 {
		t.Fatalf("%T, want an *fhir.Error with one issue", err)
	}
	if len(e.Error()) > 4096 {
		t.Fatalf("an error of %d bytes", len(e.Error()))
	}
}
