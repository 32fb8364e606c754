package xmlformat_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/xmlformat"
)

const declaration = `<?xml version="1.0" encoding="UTF-8"?>`

// xml is a document with the declaration that FromJSON writes. @ stands for the namespace of FHIR, § for the one of XHTML.
func xml(s string) string { return declaration + expand(s) }

func expand(s string) string {
	return strings.NewReplacer("@", `xmlns="http://hl7.org/fhir"`, "§", `xmlns="http://www.w3.org/1999/xhtml"`).Replace(s)
}

func TestBothFormsOfAResource(t *testing.T) {
	for name, c := range map[string]struct{ spec, xml, json string }{
		"a resource without elements": {
			"http://hl7.org/fhir/R4/xml.html",
			`<Patient @/>`,
			`{"resourceType":"Patient"}`,
		},
		"the id of a resource is an element": {
			"http://hl7.org/fhir/R4/xml.html",
			`<Patient @><id value="p1"/></Patient>`,
			`{"resourceType":"Patient","id":"p1"}`,
		},
		"what may occur once is no array, what may repeat is one": {
			"http://hl7.org/fhir/R4/json.html#repeat",
			`<Patient @><name><family value="Everyman"/><given value="Adam"/></name><name><text value="Addy"/></name></Patient>`,
			`{"resourceType":"Patient","name":[{"family":"Everyman","given":["Adam"]},{"text":"Addy"}]}`,
		},
		"booleans and numbers have no quotes": {
			"http://hl7.org/fhir/R4/json.html#primitive",
			`<Patient @><active value="false"/><multipleBirthInteger value="3"/></Patient>`,
			`{"resourceType":"Patient","active":false,"multipleBirthInteger":3}`,
		},
		"decimals keep their digits": {
			"http://hl7.org/fhir/R4/datatypes.html#decimal",
			`<Observation @><valueQuantity><value value="72.50"/></valueQuantity><component><valueQuantity><value value="-0.00"/></valueQuantity></component>` +
				`<component><valueQuantity><value value="1.0E-22"/></valueQuantity></component>` +
				`<component><valueQuantity><value value="12345678901234567890.123456789012345678901234567890"/></valueQuantity></component></Observation>`,
			`{"resourceType":"Observation","valueQuantity":{"value":72.50},"component":[{"valueQuantity":{"value":-0.00}},` +
				`{"valueQuantity":{"value":1.0E-22}},{"valueQuantity":{"value":12345678901234567890.123456789012345678901234567890}}]}`,
		},
		"unsigned and positive integers are numbers too, an integer64 of R5 is not there": {
			"http://hl7.org/fhir/R4/datatypes.html#integer",
			`<Bundle @><total value="0"/></Bundle>`,
			`{"resourceType":"Bundle","total":0}`,
		},
		"the id and the extensions of a primitive stand beside it": {
			"http://hl7.org/fhir/R4/json.html#primitive",
			`<Patient @><birthDate id="a" value="1970-03-30"><extension url="http://example.org/text"><valueString value="Easter 1970"/></extension></birthDate></Patient>`,
			`{"resourceType":"Patient","birthDate":"1970-03-30","_birthDate":{"id":"a","extension":[{"url":"http://example.org/text","valueString":"Easter 1970"}]}}`,
		},
		"a primitive may have extensions only": {
			"http://hl7.org/fhir/R4/json.html#primitive",
			`<Patient @><birthDate><extension url="http://example.org/why"><valueCode value="unknown"/></extension></birthDate></Patient>`,
			`{"resourceType":"Patient","_birthDate":{"extension":[{"url":"http://example.org/why","valueCode":"unknown"}]}}`,
		},
		"nulls keep values and what is beside them together": {
			"http://hl7.org/fhir/R4/json.html#primitive",
			`<Patient @><name><given value="a"/><given><extension url="http://example.org/e"><valueBoolean value="true"/></extension></given>` +
				`<given value="c"/><given id="d" value="d"/><given value="e"/></name></Patient>`,
			`{"resourceType":"Patient","name":[{"given":["a",null,"c","d","e"],"_given":[null,{"extension":[{"url":"http://example.org/e","valueBoolean":true}]},null,{"id":"d"},null]}]}`,
		},
		"where no item has a value there are only companions": {
			"http://hl7.org/fhir/R4/json.html#primitive",
			`<ActivityDefinition @><timingTiming><event><extension url="http://example.org/e"><valueString value="x"/></extension></event></timingTiming></ActivityDefinition>`,
			`{"resourceType":"ActivityDefinition","timingTiming":{"_event":[{"extension":[{"url":"http://example.org/e","valueString":"x"}]}]}}`,
		},
		"extensions of a primitive in an extension of a primitive": {
			"http://hl7.org/fhir/R4/extensibility.html",
			`<Patient @><name><given value="a"><extension url="u"><valueString value="v"><extension url="w"><valueString value="x"/></extension></valueString></extension></given></name></Patient>`,
			`{"resourceType":"Patient","name":[{"given":["a"],"_given":[{"extension":[{"url":"u","valueString":"v","_valueString":{"extension":[{"url":"w","valueString":"x"}]}}]}]}]}`,
		},
		"the id of an element and the url of an extension are attributes": {
			"http://hl7.org/fhir/R4/xml.html",
			`<Patient @><extension id="x1" url="http://example.org/out"><extension url="in"><valueString value="v"/></extension></extension><contact id="c1"><gender value="male"/></contact></Patient>`,
			`{"resourceType":"Patient","extension":[{"id":"x1","extension":[{"url":"in","valueString":"v"}],"url":"http://example.org/out"}],"contact":[{"id":"c1","gender":"male"}]}`,
		},
		"a choice has its type in the name": {
			"http://hl7.org/fhir/R4/formats.html#choice",
			`<Observation @><effectiveDateTime value="2026-01-02T03:04:05.60+01:00"/><valueSampledData><origin><value value="0"/></origin><period value="10"/><dimensions value="1"/><data value="1 2 E"/></valueSampledData></Observation>`,
			`{"resourceType":"Observation","effectiveDateTime":"2026-01-02T03:04:05.60+01:00","valueSampledData":{"origin":{"value":0},"period":10,"dimensions":1,"data":"1 2 E"}}`,
		},
		"contained resources": {
			"http://hl7.org/fhir/R4/references.html#contained",
			`<Observation @><contained><Patient><id value="p"/></Patient></contained><contained><Device><id value="d"/></Device></contained><status value="final"/></Observation>`,
			`{"resourceType":"Observation","contained":[{"resourceType":"Patient","id":"p"},{"resourceType":"Device","id":"d"}],"status":"final"}`,
		},
		"resources and outcomes in a Bundle": {
			"http://hl7.org/fhir/R4/bundle.html",
			`<Bundle @><type value="searchset"/><entry><fullUrl value="urn:uuid:1"/><resource><Patient/></resource><search><score value="0.50"/></search></entry>` +
				`<entry><response><status value="200"/><outcome><OperationOutcome><issue><severity value="error"/></issue></OperationOutcome></outcome></response></entry></Bundle>`,
			`{"resourceType":"Bundle","type":"searchset","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient"},"search":{"score":0.50}},` +
				`{"response":{"status":"200","outcome":{"resourceType":"OperationOutcome","issue":[{"severity":"error"}]}}}]}`,
		},
		"parameters with resources and parts": {
			"http://hl7.org/fhir/R4/parameters.html",
			`<Parameters @><parameter><name value="a"/><resource><Patient><active value="true"/></Patient></resource></parameter><parameter><name value="b"/><part><name value="c"/><valueUnsignedInt value="7"/></part></parameter></Parameters>`,
			`{"resourceType":"Parameters","parameter":[{"name":"a","resource":{"resourceType":"Patient","active":true}},{"name":"b","part":[{"name":"c","valueUnsignedInt":7}]}]}`,
		},
		"elements that refer to the content of others": {
			"http://hl7.org/fhir/R4/elementdefinition.html",
			`<Questionnaire @><item><linkId value="1"/><item><linkId value="1.1"/><required value="true"/></item></item></Questionnaire>`,
			`{"resourceType":"Questionnaire","item":[{"linkId":"1","item":[{"linkId":"1.1","required":true}]}]}`,
		},
		"an element that is called resourceType": {
			"http://hl7.org/fhir/R4/examplescenario.html",
			`<ExampleScenario @><instance><resourceId value="i"/><resourceType value="Patient"/></instance></ExampleScenario>`,
			`{"resourceType":"ExampleScenario","instance":[{"resourceId":"i","resourceType":"Patient"}]}`,
		},
		"a narrative is XHTML as it is written": {
			"http://hl7.org/fhir/R4/narrative.html",
			"<Patient @><text><status value=\"generated\"/><div § xml:lang='en'><p >a &amp; b &#160;<br/>\n\t\"q\" </p><!-- c --><img alt=\"\" src='#x'></img></div></text></Patient>",
			`{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang='en'><p >a &amp; b &#160;<br/>\n\t\"q\" </p><!-- c --><img alt=\"\" src='#x'></img></div>"}}`,
		},
		"characters that mean something in XML or in JSON": {
			"https://www.w3.org/TR/xml/#syntax",
			`<Patient @><name><text value="&lt;a b=&quot;c&quot;> &amp;amp; ' \ / é 漢 😀 ]]>"/></name></Patient>`,
			`{"resourceType":"Patient","name":[{"text":"<a b=\"c\"> &amp; ' \\ / é 漢 😀 ]]>"}]}`,
		},
		"line ends, tabs and blanks of strings": {
			"https://www.w3.org/TR/xml/#AVNormalize",
			`<Patient @><name><text value="  a&#13;&#10;b&#9;c&#10; "/></name></Patient>`,
			`{"resourceType":"Patient","name":[{"text":"  a\r\nb\tc\n "}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			document := xml(c.xml)
			got, err := xmlformat.ToJSON([]byte(document))
			if err != nil {
				t.Errorf("ToJSON: %v", err)
			} else if string(got) != c.json {
				t.Errorf("ToJSON (%s)\n got %s\nwant %s", c.spec, got, c.json)
			}
			got, err = xmlformat.FromJSON([]byte(c.json))
			if err != nil {
				t.Errorf("FromJSON: %v", err)
			} else if string(got) != document {
				t.Errorf("FromJSON (%s)\n got %s\nwant %s", c.spec, got, document)
			}
		})
	}
}

func TestToJSONReadsWhatXMLAllows(t *testing.T) {
	for name, c := range map[string]struct{ xml, json string }{
		"without a declaration":                      {`<Patient @/>`, `{"resourceType":"Patient"}`},
		"after a byte order mark":                    {"\ufeff<Patient @/>", `{"resourceType":"Patient"}`},
		"a declaration in other words":               {"<?xml version = '1.0'\tencoding='utf-8' standalone=\"no\" ?>\n<Patient @/>", `{"resourceType":"Patient"}`},
		"a start tag and an end tag":                 {"<Patient @></Patient >\n", `{"resourceType":"Patient"}`},
		"white space between elements and in tags":   {"\n<Patient\n @ >\r\n\t<id\n\tvalue = 'p' />\n</Patient>", `{"resourceType":"Patient","id":"p"}`},
		"comments and instructions":                  {`<?xml-stylesheet href="a"?><!--a--><Patient @><!-- - < & --><?a?><id value="p"><!--b--></id></Patient><!--c--><?b c?>`, `{"resourceType":"Patient","id":"p"}`},
		"a prefix for FHIR":                          {`<f:Patient xmlns:f="http://hl7.org/fhir"><f:id value="p"/></f:Patient>`, `{"resourceType":"Patient","id":"p"}`},
		"the namespace again":                        {`<Patient @><contained><Device @><id @ value="d"/></Device></contained></Patient>`, `{"resourceType":"Patient","contained":[{"resourceType":"Device","id":"d"}]}`},
		"a namespace written with references":        {`<Patient xmlns="http:&#x2f;/hl7.org/fhir"/>`, `{"resourceType":"Patient"}`},
		"another namespace that is declared":         {`<Patient @ xmlns:v3="urn:hl7-org:v3"><id value="p"/></Patient>`, `{"resourceType":"Patient","id":"p"}`},
		"attributes in any order":                    {`<Patient @><birthDate value="1970" id="a"/><contact><name><family value="x"/></name></contact></Patient>`, `{"resourceType":"Patient","birthDate":"1970","_birthDate":{"id":"a"},"contact":[{"name":{"family":"x"}}]}`},
		"references":                                 {`<Patient @><name><text value="&#x41;&#66;&lt;&gt;&amp;&apos;&quot;&#x1F600;"/></name></Patient>`, `{"resourceType":"Patient","name":[{"text":"AB<>&'\"😀"}]}`},
		"quotes in the other quotes":                 {`<Patient @><name><text value='a"b'/><family value="it's"/></name></Patient>`, `{"resourceType":"Patient","name":[{"text":"a\"b","family":"it's"}]}`},
		"white space in attributes is blanks":        {"<Patient @><name><text value=\"a\r\nb\nc\td\re\"/></name></Patient>", `{"resourceType":"Patient","name":[{"text":"a b c d e"}]}`},
		"blanks around what is no string":            {`<Patient @><active value=" true&#10;"/><gender value=" male "/><birthDate value=" 1970 " id=" a "/><multipleBirthInteger value=" 2 "/></Patient>`, `{"resourceType":"Patient","active":true,"gender":"male","birthDate":"1970","_birthDate":{"id":"a"},"multipleBirthInteger":2}`},
		"an integer with the sign that JSON has not": {`<Patient @><multipleBirthInteger value="+2"/></Patient>`, `{"resourceType":"Patient","multipleBirthInteger":2}`},
		"a narrative with prefixes": {
			`<Patient @ xmlns:h="http://www.w3.org/1999/xhtml"><text><h:div id='d'><h:p>a<h:br/></h:p><p § class="x">b</p></h:div></text></Patient>`,
			`{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\" id='d'><p>a<br/></p><p xmlns=\"http://www.w3.org/1999/xhtml\" class=\"x\">b</p></div>"}}`,
		},
		"a narrative that inherits its namespace": {
			`<f:Patient xmlns:f="http://hl7.org/fhir" §><f:text><div>a</div></f:text></f:Patient>`,
			`{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>"}}`,
		},
		"a narrative that declares what it does not use": {
			`<Patient @><text><div § xmlns:v="urn:v">a</div></text></Patient>`,
			`{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>"}}`,
		},
		"a narrative with what HTML reads otherwise": {
			`<Patient @><text><div §>a<![CDATA[<script>&]]>b<?x ><script/>?><!--> <script/> -->c<!-- d --></div></text></Patient>`,
			`{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">a&lt;script&gt;&amp;bc<!-- d --></div>"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := xmlformat.ToJSON([]byte(expand(c.xml)))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.json {
				t.Errorf("\n got %s\nwant %s", got, c.json)
			}
		})
	}
}

func TestFromJSONReadsWhatJSONAllows(t *testing.T) {
	for name, c := range map[string]struct{ json, xml string }{
		"members in any order": {
			`{"name":[{"given":["A"],"use":"official","id":"n"}],"_active":{"id":"a"},"id":"p","active":true,"resourceType":"Patient"}`,
			`<Patient @><id value="p"/><active id="a" value="true"/><name id="n"><use value="official"/><given value="A"/></name></Patient>`,
		},
		"white space": {
			" {\n\t\"resourceType\" : \"Patient\" , \"id\" : \"p\" }\r\n",
			`<Patient @><id value="p"/></Patient>`,
		},
		"escapes in names and strings": {
			`{"resourceType":"Patient","\u0069d":"p","name":[{"text":"\u003c\ud83d\ude00\/\t"}]}`,
			`<Patient @><id value="p"/><name><text value="&lt;😀/&#9;"/></name></Patient>`,
		},
		"an array of nulls": {
			`{"resourceType":"Patient","name":[{"given":[null],"_given":[{"extension":[{"url":"u","valueString":"v"}]}]}]}`,
			`<Patient @><name><given><extension url="u"><valueString value="v"/></extension></given></name></Patient>`,
		},
		"an array that is shorter than what is beside it": {
			`{"resourceType":"Patient","name":[{"given":["a"],"_given":[null,{"extension":[{"url":"u","valueString":"v"}]}]}]}`,
			`<Patient @><name><given value="a"/><given><extension url="u"><valueString value="v"/></extension></given></name></Patient>`,
		},
		"a narrative without a namespace": {
			`{"resourceType":"Patient","text":{"div":" <div id=\"a\"><br/>b</div>\n"}}`,
			`<Patient @><text><div § id="a"><br/>b</div></text></Patient>`,
		},
		"a narrative that is one element": {
			`{"resourceType":"Patient","text":{"div":"<div/>"}}`,
			`<Patient @><text><div §/></text></Patient>`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := xmlformat.FromJSON([]byte(c.json))
			if err != nil {
				t.Fatal(err)
			}
			if want := xml(c.xml); string(got) != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		})
	}
}

// A refusal is what the error about a document must say. ¦ in the document is where: it is taken out.
type refusal struct{ document, code, path, message string }

// secret stands for patient data in documents.
const secret = "Chalmers"

func (r refusal) check(t *testing.T, convert func([]byte) ([]byte, error)) {
	t.Helper()
	before, behind, ok := strings.Cut(expand(r.document), "¦")
	if !ok {
		t.Fatal("the document does not say where the fault is")
	}
	line := 1 + strings.Count(before, "\n")
	column := len(before) - strings.LastIndex(before, "\n")
	want := fmt.Sprintf("line %d column %d: %s", line, column, r.message)
	got, err := convert([]byte(before + behind))
	if err == nil {
		t.Fatalf("accepted, as %s", got)
	}
	e, ok := err.(*fhir.Error)
	if !ok || len(e.Issues) != 1 {
		t.Fatalf("%T, want an *fhir.Error with one issue", err)
	}
	i := e.Issues[0]
	if i.Severity != fhir.SevError || i.Code != r.code || i.Path != r.path || i.Message != want {
		t.Errorf("\n got %s %s %s %q\nwant %s %s %s %q", i.Severity, i.Code, i.Path, i.Message, fhir.SevError, r.code, r.path, want)
	}
	if got != nil {
		t.Errorf("an error and %d bytes", len(got))
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the error repeats patient data: %v", err)
	}
}

const ampersand = "a & that is neither a character reference nor one of &amp; &lt; &gt; &quot; &apos;"

func TestToJSONRefusesWhatIsNotWellFormed(t *testing.T) {
	for name, r := range map[string]refusal{
		"nothing":                          {`¦`, "structure", "", "the document has no element"},
		"only comments":                    {`<!-- -->¦`, "structure", "", "the document has no element"},
		"text before":                      {` ¦Chalmers<Patient @/>`, "structure", "", "the document does not begin with an element"},
		"text behind":                      {"<Patient @/>\n\n ¦Chalmers", "structure", "Patient", "something follows the outermost element"},
		"a second element":                 {`<a:Patient xmlns:a="http://hl7.org/fhir"/>¦<Patient @/>`, "structure", "Patient", "something follows the outermost element"},
		"CDATA behind":                     {`<Patient @/>¦<![CDATA[ ]]>`, "structure", "Patient", "something follows the outermost element"},
		"JSON":                             {`¦{"resourceType":"Patient"}`, "structure", "", "the document does not begin with an element"},
		"an element that is not closed":    {`<Patient @><id value="Chalmers"/>¦`, "structure", "Patient", `the document ends before "Patient" is closed`},
		"a wrong end tag":                  {`<Patient @><name>¦</Patient>`, "structure", "Patient.name[0]", `the end tag "Patient" closes nothing that is open`},
		"a tag that does not end":          {`<Patient @><id value="Chalmers"¦`, "structure", "Patient", `the tag "id" does not end`},
		"an end tag with an attribute":     {`<Patient @>¦</Patient a="Chalmers">`, "structure", "Patient", "an end tag is not one"},
		"an end tag alone":                 {`¦</Patient>`, "structure", "", `the end tag "Patient" closes nothing that is open`},
		"a < alone":                        {`<Patient @>¦< Chalmers</Patient>`, "structure", "Patient", "a < that begins no tag"},
		"an attribute without quotes":      {`<Patient @><id value=¦Chalmers/></Patient>`, "structure", "Patient", `the value of the attribute "value" is not in quotes`},
		"an attribute without a value":     {`<Patient @><id value¦/></Patient>`, "structure", "Patient", `the attribute "value" has no value`},
		"an attribute that does not end":   {`<Patient @><id value=¦"Chalmers/></Patient>`, "structure", "Patient", `the value of the attribute "value" does not end`},
		"an attribute twice":               {`<Patient @><id value="a" ¦value="Chalmers"/></Patient>`, "structure", "Patient", "an attribute occurs twice"},
		"attributes without white space":   {`<Patient @><birthDate id="a"¦value="Chalmers"/></Patient>`, "structure", "Patient", `the tag "birthDate" does not end`},
		"a < in an attribute":              {`<Patient @><id value="¦<"/></Patient>`, "structure", "Patient", "a < in an attribute"},
		"a name with two colons":           {`<a:b¦:c/>`, "structure", "", `the tag "a:b" does not end`},
		"a name that begins with a digit":  {`¦<1/>`, "structure", "", "a < that begins no tag"},
		"a prefix that is not declared":    {`¦<f:Patient/>`, "structure", "", `the prefix of "f:Patient" is not declared`},
		"a prefix for no namespace":        {`<Patient @ ¦xmlns:a=""/>`, "structure", "", "a prefix is declared for no namespace"},
		"the prefix xml for another":       {`<Patient @ ¦xmlns:xml="a"/>`, "structure", "", "the prefixes xml and xmlns stand for their namespaces only"},
		"another prefix for xml":           {`<Patient @ ¦xmlns:a="http://www.w3.org/XML/1998/namespace"/>`, "structure", "", "the prefixes xml and xmlns stand for their namespaces only"},
		"a comment with --":                {`<!-- Chalmers --¦ --><Patient @/>`, "structure", "", "-- in a comment"},
		"a comment that does not end":      {`¦<!-- Chalmers`, "structure", "", "a comment does not end"},
		"an instruction that does not end": {`¦<?a Chalmers`, "structure", "", "a processing instruction does not end"},
		"an instruction without a name":    {`¦<? a?><Patient @/>`, "structure", "", "a processing instruction without a name"},
		"CDATA that does not end":          {`<Patient @>¦<![CDATA[Chalmers`, "structure", "Patient", "CDATA does not end"},
		"a DOCTYPE":                        {`¦<!DOCTYPE Patient><Patient @/>`, "structure", "", "a DOCTYPE or another declaration of a DTD"},
		"entities": {"<?xml version=\"1.0\"?>\n¦<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>\n<Patient @><id value=\"&x;\"/></Patient>", "structure", "",
			"a DOCTYPE or another declaration of a DTD"},
		"an entity that is not predefined":          {`<Patient @><id value="a¦&nbsp;Chalmers"/></Patient>`, "structure", "Patient", ampersand},
		"a & alone":                                 {`<Patient @><id value="Chalmers ¦& a"/></Patient>`, "structure", "Patient", ampersand},
		"a reference to a control character":        {`<Patient @><id value="¦&#0;"/></Patient>`, "structure", "Patient", ampersand},
		"a reference to a surrogate":                {`<Patient @><id value="¦&#xD800;"/></Patient>`, "structure", "Patient", ampersand},
		"a reference to no character":               {`<Patient @><id value="¦&#xFFFE;"/></Patient>`, "structure", "Patient", ampersand},
		"a reference beyond Unicode":                {`<Patient @><id value="¦&#x110000;"/></Patient>`, "structure", "Patient", ampersand},
		"a reference in hexadecimal without x":      {`<Patient @><id value="¦&#4A;"/></Patient>`, "structure", "Patient", ampersand},
		"]]> in text":                               {`<Patient @><text><div §>a¦]]></div></text></Patient>`, "structure", "Patient.text.div", "]]> outside CDATA"},
		"a declaration in the middle":               {` ¦<?xml version="1.0"?><Patient @/>`, "structure", "", "an XML declaration that is not at the start"},
		"a declaration without the version":         {`<?xml encoding="UTF-8"¦?><Patient @/>`, "structure", "", `the XML declaration does not say version="1.0"`},
		"a declaration without quotes":              {`<?xml version=¦1.0?><Patient @/>`, "structure", "", `the value of the attribute "version" is not in quotes`},
		"an instruction that goes on":               {`<?a¦!Chalmers?><Patient @/>`, "structure", "", "white space is missing in a processing instruction"},
		"half a name":                               {`<Patient¦`, "structure", "", `the tag "Patient" does not end`},
		"a prefix alone":                            {`¦<f:/>`, "structure", "", "a < that begins no tag"},
		"no name of an attribute":                   {`<Patient @ ¦="Chalmers"/>`, "structure", "", "a tag has something that is no attribute"},
		"a reference without digits":                {`<Patient @><id value="¦&#;"/></Patient>`, "structure", "Patient", ampersand},
		"a reference without digits in hexadecimal": {`<Patient @><id value="¦&#x;"/></Patient>`, "structure", "Patient", ampersand},
		"a reference with other letters":            {`<Patient @><id value="¦&#x4G;"/></Patient>`, "structure", "Patient", ampersand},
		"a resource that ends in the middle":        {`<Patient @><contained><Device/>¦`, "structure", "Patient.contained[0]", `the document ends before "contained" is closed`},
		"contained that ends in the middle":         {`<Patient @><contained>¦`, "structure", "Patient.contained[0]", `the document ends before "contained" is closed`},
		"XML 1.1":                                   {`<?xml version="1.1"¦?><Patient @/>`, "structure", "", `the XML declaration does not say version="1.0"`},
		"a declaration in another order":            {`<?xml encoding="UTF-8" ¦version="1.0"?><Patient @/>`, "structure", "", "an attribute that the XML declaration does not have there"},
		"neither yes nor no":                        {`<?xml version="1.0" ¦standalone="Chalmers"?><Patient @/>`, "structure", "", "standalone is neither yes nor no"},
		"a declaration that does not end":           {`<?xml version="1.0"¦><Patient @/>`, "structure", "", "the XML declaration is not one"},
		"another encoding":                          {`<?xml version="1.0" ¦encoding="ISO-8859-1"?><Patient @/>`, "not-supported", "", "the XML declaration says another encoding than UTF-8"},
		"Latin-1 that says nothing":                 {"<Patient @><id value=\"Chalmers ¦\xe9\"/></Patient>", "not-supported", "", "not UTF-8"},
		"UTF-16 with a mark":                        {"¦\xff\xfe<\x00P\x00", "not-supported", "", "the document is in UTF-16"},
		"UTF-16 without a mark":                     {"¦\x00<\x00P", "not-supported", "", "the document is in UTF-16"},
		"a control character":                       {"<Patient @><id value=\"¦\x01Chalmers\"/></Patient>", "structure", "", "a control character, which XML cannot have"},
		"a character that Unicode does not have":    {"<Patient @>\n<id value=\"¦\ufffeChalmers\"/></Patient>", "structure", "", "a control character, which XML cannot have"},
	} {
		t.Run(name, func(t *testing.T) { r.check(t, xmlformat.ToJSON) })
	}
}

func TestToJSONRefusesWhatIsNotFHIR(t *testing.T) {
	for name, r := range map[string]refusal{
		"no namespace":                    {`¦<Patient/>`, "structure", "Patient", `"Patient" is not in the namespace of FHIR`},
		"another namespace":               {`¦<Patient xmlns="urn:hl7-org:v3"/>`, "structure", "Patient", `"Patient" is not in the namespace of FHIR`},
		"an element of another namespace": {`<Patient @>¦<id xmlns="urn:a" value="Chalmers"/></Patient>`, "structure", "Patient.id", `"id" is not in the namespace of FHIR`},
		"no resource":                     {`¦<HumanName @><family value="Chalmers"/></HumanName>`, "structure", "", `"HumanName" is no resource type of R4`},
		"an abstract type":                {`¦<DomainResource @/>`, "structure", "", `"DomainResource" is no resource type of R4`},
		"an unknown element":              {`<Patient @>¦<nickname value="Chalmers"/></Patient>`, "structure", "Patient.nickname", `"nickname" is no element of Patient`},
		"an element in other letters":     {`<Patient @>¦<Active value="true"/></Patient>`, "structure", "Patient.Active", `"Active" is no element of Patient`},
		"an element of another type":      {`<Observation @><component>¦<status value="final"/></component></Observation>`, "structure", "Observation.component[0].status", `"status" is no element of Observation.component`},
		"a choice without its type":       {`<Observation @>¦<value value="Chalmers"/></Observation>`, "structure", "Observation.value", `"value" is no element of Observation`},
		"a choice of a type that it does not have": {`<Observation @>¦<valueAddress><city value="Chalmers"/></valueAddress></Observation>`, "structure", "Observation.valueAddress",
			`"valueAddress" is no element of Observation`},
		"two types of a choice": {`<Observation @><valueString value="Chalmers"/>¦<valueInteger value="1"/></Observation>`, "structure", "Observation.value",
			"both valueString and valueInteger, of which there can be one only"},
		"an element twice": {`<Patient @><gender value="male"/>¦<gender value="female"/></Patient>`, "structure", "Patient.gender", "gender occurs twice, and can occur once"},
		"elements out of order": {"<Patient @>\n  <birthDate value=\"1970\"/>\n  ¦<active value=\"true\"/></Patient>", "structure", "Patient.active",
			"active comes too late: elements have the order of their definition"},
		"an array in two parts": {`<Patient @><name><text value="a"/></name><gender value="male"/>¦<name><text value="Chalmers"/></name></Patient>`, "structure", "Patient.name",
			"name comes too late: elements have the order of their definition"},
		"an unknown attribute":              {`<Patient @><birthDate value="1970" ¦time="Chalmers"/></Patient>`, "structure", "Patient.birthDate", `"time" is no attribute of date`},
		"xml:base":                          {`<Patient @ ¦xml:base="http://example.org"/>`, "structure", "Patient", `"xml:base" is no attribute of Patient`},
		"a schema":                          {`<Patient @ ¦xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b"/>`, "structure", "", "the namespace of XMLSchema-instance is declared"},
		"an attribute with a prefix":        {`<Patient @ xmlns:f="http://hl7.org/fhir"><birthDate ¦f:value="1970"/></Patient>`, "structure", "Patient.birthDate", `"f:value" is no attribute of date`},
		"the id of a resource as attribute": {`<Patient @ ¦id="Chalmers"/>`, "structure", "Patient", `"id" is no attribute of Patient`},
		"the id of an element as element":   {`<Patient @><contact>¦<id value="Chalmers"/></contact></Patient>`, "structure", "Patient.contact[0].id", "id is an attribute in XML, not an element"},
		"the url as element":                {`<Patient @><extension>¦<url value="u"/></extension></Patient>`, "structure", "Patient.extension[0].url", "url is an attribute in XML, not an element"},
		"the url of what has none":          {`<Patient @><name ¦url="Chalmers"/></Patient>`, "structure", "Patient.name[0]", `"url" is no attribute of HumanName`},
		"a value of what has none":          {`<Patient @><name ¦value="Chalmers"/></Patient>`, "structure", "Patient.name[0]", `"value" is no attribute of HumanName`},
		"an attribute of contained":         {`<Patient @><contained ¦id="a"><Device/></contained></Patient>`, "structure", "Patient.contained[0]", `"id" is no attribute of Patient.contained`},
		"elements in a primitive":           {`<Patient @><gender value="male">¦<coding/></gender></Patient>`, "structure", "Patient.gender.coding", `"coding" is no element of code`},
		"an empty attribute":                {`<Patient @><gender ¦value=""/></Patient>`, "structure", "Patient.gender", "the attribute value is empty"},
		"an attribute of blanks":            {`<Patient @><gender ¦value=" &#9; "/></Patient>`, "structure", "Patient.gender", "the attribute value is empty"},
		"an empty element":                  {`<Patient @>¦<name/></Patient>`, "structure", "Patient.name[0]", "the element is empty: it has neither a value nor elements"},
		"an element with nothing but an id": {`<Patient @>¦<name id="a"><!-- --></name></Patient>`, "structure", "Patient.name[0]", "the element is empty: it has neither a value nor elements"},
		"an empty primitive":                {`<Patient @>¦<gender id="a"/></Patient>`, "structure", "Patient.gender", "the element is empty: it has neither a value nor elements"},
		"an empty primitive in a list":      {`<Patient @><name><given value="a"/>¦<given/></name></Patient>`, "structure", "Patient.name[0].given[1]", "the element is empty: it has neither a value nor elements"},
		"contained without a resource":      {`<Patient @>¦<contained/></Patient>`, "structure", "Patient.contained[0]", "the element is empty: it has neither a value nor elements"},
		"two resources in contained":        {`<Patient @><contained><Device/>¦<Device/></contained></Patient>`, "structure", "Patient.contained[0]", "more than one resource in one element"},
		"a data type in contained":          {`<Patient @><contained>¦<Coding/></contained></Patient>`, "structure", "Patient.contained[0]", `"Coding" is no resource type of R4`},
		"text":                              {`<Patient @><gender>¦Chalmers</gender></Patient>`, "structure", "Patient.gender", "text between elements"},
		"a reference as white space":        {`<Patient @>¦&#32;</Patient>`, "structure", "Patient", "text between elements"},
		"CDATA":                             {`<Patient @>¦<![CDATA[ ]]></Patient>`, "structure", "Patient", "text between elements"},
		"a boolean that is none":            {`<Patient @>¦<active value="1"/></Patient>`, "value", "Patient.active", "a boolean that is neither true nor false"},
		"an integer that is none":           {`<Patient @>¦<multipleBirthInteger value="Chalmers"/></Patient>`, "value", "Patient.multipleBirth", "a number that is none"},
		"an integer with two signs":         {`<Patient @>¦<multipleBirthInteger value="+-1"/></Patient>`, "value", "Patient.multipleBirth", "a number that is none"},
		"an integer with a leading zero":    {`<Patient @>¦<multipleBirthInteger value="01"/></Patient>`, "value", "Patient.multipleBirth", "a number that is none"},
		"a decimal with a sign":             {`<Observation @><valueQuantity>¦<value value="+1.0"/></valueQuantity></Observation>`, "value", "Observation.value.value", "a decimal that is none"},
		"a decimal with a comma":            {`<Observation @><valueQuantity>¦<value value="1,0"/></valueQuantity></Observation>`, "value", "Observation.value.value", "a decimal that is none"},
		"a decimal without digits":          {`<Observation @><valueQuantity>¦<value value="1."/></valueQuantity></Observation>`, "value", "Observation.value.value", "a decimal that is none"},
		"no number":                         {`<Observation @><valueQuantity>¦<value value="NaN"/></valueQuantity></Observation>`, "value", "Observation.value.value", "a decimal that is none"},
		"an exponent without digits":        {`<Observation @><valueQuantity>¦<value value="1e+"/></valueQuantity></Observation>`, "value", "Observation.value.value", "a decimal that is none"},
		"an attribute like a declaration":   {`<Patient @ ¦xmlnsx="Chalmers"/>`, "structure", "Patient", `"xmlnsx" is no attribute of Patient`},
		"an unknown element in an item":     {`<Patient @><name><given value="a"/><given value="b">¦<x/></given></name></Patient>`, "structure", "Patient.name[0].given[1].x", `"x" is no element of string`},
		"more in an exponent":               {`<Observation @><valueQuantity>¦<value value="1e5.0"/></valueQuantity></Observation>`, "value", "Observation.value.value", "a decimal that is none"},
		"a div that is not XHTML":           {`<Patient @><text>¦<div>Chalmers</div></text></Patient>`, "structure", "Patient.text.div", "div is not in the namespace of XHTML"},
		"an XHTML element in FHIR":          {`<Patient @>¦<name §><text value="Chalmers"/></name></Patient>`, "structure", "Patient.name", `"name" is not in the namespace of FHIR`},
		"a FHIR element in a div":           {`<Patient @><text><div §>¦<p @>Chalmers</p></div></text></Patient>`, "structure", "Patient.text.div", "an element of a narrative that is not in the namespace of XHTML"},
		"an attribute with a prefix in a div": {`<Patient @><text><div § xmlns:a="urn:a" ¦a:b="Chalmers"/></text></Patient>`, "structure", "Patient.text.div",
			"an attribute of a narrative has a prefix"},
		"an entity of HTML": {`<Patient @><text><div §>Chalmers¦&nbsp;</div></text></Patient>`, "structure", "Patient.text.div",
			ampersand},
		"two divs":                    {`<Patient @><text><div §/>¦<div §/></text></Patient>`, "structure", "Patient.text.div", "div occurs twice, and can occur once"},
		"a resource in a Bundle":      {`<Bundle @><entry><resource><Patient/></resource></entry><entry><resource><Observation>¦<status/></Observation></resource></entry></Bundle>`, "structure", "Bundle.entry[1].resource.status", "the element is empty: it has neither a value nor elements"},
		"a name that is no name":      {`<Patient @>¦<a-very.strange_name value="Chalmers"/></Patient>`, "structure", "Patient", "a name of 19 bytes is no element of Patient"},
		"an attribute of nobody":      {`<Patient @ ¦zz:a="Chalmers"/>`, "structure", "Patient", `"zz:a" is no attribute of Patient`},
		"an element that is far away": {"<Patient @>\n<contact>\n<name>\n\t¦<x/></name></contact></Patient>", "structure", "Patient.contact[0].name.x", `"x" is no element of HumanName`},
	} {
		t.Run(name, func(t *testing.T) { r.check(t, xmlformat.ToJSON) })
	}
}

func TestFromJSONRefuses(t *testing.T) {
	for name, r := range map[string]refusal{
		"nothing":                         {`¦`, "structure", "", "the JSON ends too early"},
		"half a resource":                 {"{\"resourceType\":\n\"Pat¦", "structure", "", "the JSON ends too early"},
		"XML":                             {`¦<Patient/>`, "structure", "", "not valid JSON: invalid character '<' at start of value"},
		"something behind":                {`{"resourceType":"Patient"}¦ "Chalmers"`, "structure", "", "something follows the resource"},
		"a name twice":                    {`{"resourceType":"Patient","id":"a",¦"id":"Chalmers"}`, "structure", "", "a name occurs twice in one object"},
		"a bracket for a brace":           {`{"resourceType":"Patient"¦]`, "structure", "", "not valid JSON: invalid character ']' after object value (expecting ',' or '}')"},
		"a single value beside a list":    {`{"resourceType":"Patient","name":[{"given":["a"],"_given":¦{"id":"a"}}]}`, "structure", "Patient.name[0]._given", "_given is an array, also for one value"},
		"a number as id beside":           {`{"resourceType":"Patient","gender":"male","_gender":{"id":¦1}}`, "structure", "Patient.gender.id", "id must be a string"},
		"invalid UTF-8":                   {"{\"resourceType\":\"Patient\",\"id\":\"¦\xff\"}", "structure", "", "not valid JSON: invalid UTF-8"},
		"an array":                        {`¦[]`, "structure", "", "a resource must be an object"},
		"a string":                        {`¦"Chalmers"`, "structure", "", "a resource must be an object"},
		"no resourceType":                 {`¦{"id":"Chalmers"}`, "structure", "", "the resource does not say its resourceType"},
		"a resourceType that is a number": {`{"resourceType":¦1}`, "structure", "", "the resourceType must be a string"},
		"an unknown resourceType":         {`{"resourceType":¦"Patiant"}`, "structure", "", `"Patiant" is no resource type of R4`},
		"a data type":                     {`{"resourceType":¦"Coding"}`, "structure", "", `"Coding" is no resource type of R4`},
		"an unknown name":                 {`{"resourceType":"Patient",¦"nickname":"Chalmers"}`, "structure", "Patient.nickname", `"nickname" is no element of Patient`},
		"resourceType where it is none":   {`{"resourceType":"Patient","name":[{¦"resourceType":"HumanName"}]}`, "structure", "Patient.name[0].resourceType", `"resourceType" is no element of HumanName`},
		"a choice without its type":       {`{"resourceType":"Observation",¦"value":"Chalmers"}`, "structure", "Observation.value", `"value" is no element of Observation`},
		"an underscore before an object":  {`{"resourceType":"Patient",¦"_name":[{"id":"a"}]}`, "structure", "Patient._name", `"_name" is no element of Patient`},
		"an underscore before an attribute": {`{"resourceType":"Patient","extension":[{¦"_url":{"id":"a"}}]}`, "structure", "Patient.extension[0]._url",
			`"_url" is no element of Extension`},
		"an underscore before a div": {`{"resourceType":"Patient","text":{¦"_div":{"id":"a"}}}`, "structure", "Patient.text._div", `"_div" is no element of Narrative`},
		"two types of a choice": {`{"resourceType":"Observation","valueInteger":1,"valueString":¦"Chalmers"}`, "structure", "Observation.value",
			"both valueInteger and valueString, of which there can be one only"},
		"a single value in a list":            {`{"resourceType":"Patient","name":¦{"text":"Chalmers"}}`, "structure", "Patient.name", "name is an array, also for one value"},
		"a list of what is single":            {`{"resourceType":"Patient","gender":¦["male"]}`, "structure", "Patient.gender", "gender is a single value, not an array"},
		"a list of what is beside":            {`{"resourceType":"Patient","gender":"male","_gender":¦[{"id":"a"}]}`, "structure", "Patient.gender", "gender is a single value, not an array"},
		"an empty list":                       {`{"resourceType":"Patient","name":¦[]}`, "structure", "Patient.name", "an array is never empty"},
		"an empty object":                     {`{"resourceType":"Patient","name":[¦{}]}`, "structure", "Patient.name[0]", "the element is empty: it has neither a value nor elements"},
		"an object with nothing but an id":    {`{"resourceType":"Patient","name":[¦{"id":"Chalmers"}]}`, "structure", "Patient.name[0]", "the element is empty: it has neither a value nor elements"},
		"an empty object beside":              {`{"resourceType":"Patient","gender":"male","_gender":¦{}}`, "structure", "Patient.gender", "the element is empty: it has neither a value nor elements"},
		"a primitive with nothing but an id":  {`{"resourceType":"Patient","_gender":¦{"id":"a"}}`, "structure", "Patient.gender", "the element is empty: it has neither a value nor elements"},
		"null":                                {`{"resourceType":"Patient","gender":¦null}`, "structure", "Patient.gender", "null is no value"},
		"null beside":                         {`{"resourceType":"Patient","gender":"male","_gender":¦null}`, "structure", "Patient.gender", "_gender must be an object"},
		"null in a list of objects":           {`{"resourceType":"Patient","name":[¦null]}`, "structure", "Patient.name[0]", "name must be an object"},
		"null with nothing beside":            {`{"resourceType":"Patient","name":[{"given":["Chalmers",¦null]}]}`, "structure", "Patient.name[0].given[1]", "the element is empty: it has neither a value nor elements"},
		"null beside null":                    {`{"resourceType":"Patient","name":[{"given":[null],"_given":[¦null]}]}`, "structure", "Patient.name[0].given[0]", "the element is empty: it has neither a value nor elements"},
		"a list in a list":                    {`{"resourceType":"Patient","name":[¦["Chalmers"]]}`, "structure", "Patient.name[0]", "name must be an object"},
		"a string as boolean":                 {`{"resourceType":"Patient","active":¦"true"}`, "structure", "Patient.active", "active must be true or false"},
		"a string as number":                  {`{"resourceType":"Patient","multipleBirthInteger":¦"2"}`, "structure", "Patient.multipleBirth", "multipleBirthInteger must be a number"},
		"a number as string":                  {`{"resourceType":"Patient","birthDate":¦1970}`, "structure", "Patient.birthDate", "birthDate must be a string"},
		"an object as string":                 {`{"resourceType":"Patient","birthDate":¦{"id":"Chalmers"}}`, "structure", "Patient.birthDate", "birthDate must be a string"},
		"a string as object":                  {`{"resourceType":"Patient","maritalStatus":¦"Chalmers"}`, "structure", "Patient.maritalStatus", "maritalStatus must be an object"},
		"a value beside":                      {`{"resourceType":"Patient","_gender":{¦"value":"male"}}`, "structure", "Patient.gender.value", `"value" is no element of code`},
		"a string beside":                     {`{"resourceType":"Patient","_birthDate":¦"Chalmers"}`, "structure", "Patient.birthDate", "_birthDate must be an object"},
		"a number as id":                      {`{"resourceType":"Patient","name":[{"id":¦1,"text":"Chalmers"}]}`, "structure", "Patient.name[0].id", "id must be a string"},
		"an empty string":                     {`{"resourceType":"Patient","birthDate":¦""}`, "structure", "Patient.birthDate", "a string is empty"},
		"a string of blanks":                  {`{"resourceType":"Patient","birthDate":¦" \n"}`, "structure", "Patient.birthDate", "a string is empty"},
		"an empty url":                        {`{"resourceType":"Patient","extension":[{"url":¦"","valueString":"a"}]}`, "structure", "Patient.extension[0].url", "a string is empty"},
		"a control character":                 {`{"resourceType":"Patient","birthDate":¦"\u0000Chalmers"}`, "structure", "Patient.birthDate", "a string with a control character, which XML cannot have"},
		"a character Unicode does not have":   {`{"resourceType":"Patient","birthDate":¦"\uffffChalmers"}`, "structure", "Patient.birthDate", "a string with a control character, which XML cannot have"},
		"a string as resource":                {`{"resourceType":"Patient","contained":[¦"Chalmers"]}`, "structure", "Patient.contained[0]", "a resource must be an object"},
		"a resource without type":             {`{"resourceType":"Patient","contained":[¦{"id":"Chalmers"}]}`, "structure", "Patient.contained[0]", "the resource does not say its resourceType"},
		"a fault in a resource in a Bundle":   {`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient",¦"x":1}}]}`, "structure", "Bundle.entry[0].resource.x", `"x" is no element of Patient`},
		"a narrative that is a number":        {`{"resourceType":"Patient","text":{"div":¦1}}`, "structure", "Patient.text.div", "div must be a string"},
		"a narrative that is empty":           {`{"resourceType":"Patient","text":{"div":¦""}}`, "structure", "Patient.text.div", "byte 1 of the narrative: the document has no element"},
		"a narrative that is text":            {`{"resourceType":"Patient","text":{"div":¦"Chalmers"}}`, "structure", "Patient.text.div", "byte 1 of the narrative: the document does not begin with an element"},
		"a narrative that is not closed":      {`{"resourceType":"Patient","text":{"div":¦"<div>Chalmers"}}`, "structure", "Patient.text.div", `byte 14 of the narrative: the document ends before "div" is closed`},
		"a narrative that is closed too soon": {`{"resourceType":"Patient","text":{"div":¦"<div></div></text><id value='Chalmers'/><text>"}}`, "structure", "Patient.text.div", `byte 12 of the narrative: the end tag "text" closes nothing that is open`},
		"a narrative that is another element": {`{"resourceType":"Patient","text":{"div":¦"<p>Chalmers</p>"}}`, "structure", "Patient.text.div", "byte 1 of the narrative: the narrative is not a div"},
		"a narrative in another namespace":    {`{"resourceType":"Patient","text":{"div":¦"<div xmlns='http://hl7.org/fhir'/>"}}`, "structure", "Patient.text.div", "byte 1 of the narrative: an element of a narrative that is not in the namespace of XHTML"},
		"a narrative with an entity":          {`{"resourceType":"Patient","text":{"div":¦"<div>&nbsp;</div>"}}`, "structure", "Patient.text.div", "byte 6 of the narrative: " + ampersand},
		"a narrative with a DTD":              {`{"resourceType":"Patient","text":{"div":¦"<!DOCTYPE div><div/>"}}`, "structure", "Patient.text.div", "byte 1 of the narrative: a DOCTYPE or another declaration of a DTD"},
		"a narrative with a control":          {`{"resourceType":"Patient","text":{"div":¦"<div>\u0001</div>"}}`, "structure", "Patient.text.div", "byte 6 of the narrative: a control character, which XML cannot have"},
	} {
		t.Run(name, func(t *testing.T) { r.check(t, xmlformat.FromJSON) })
	}
}

func TestErrorsSayHowToMendIt(t *testing.T) {
	for name, c := range map[string]struct {
		convert        func([]byte) ([]byte, error)
		document, want string
		spec           string
	}{
		"the order": {xmlformat.ToJSON, `<Patient @><birthDate value="1970"/><active value="true"/></Patient>`,
			"Patient.active: line 1 column 63: active comes too late: elements have the order of their definition; fix: put it before birthDate", "http://hl7.org/fhir/R4/xml.html"},
		"a choice": {xmlformat.ToJSON, `<Observation @><value value="1"/></Observation>`,
			`Observation.value: line 1 column 42: "value" is no element of Observation; fix: write the type behind it, as in valueQuantity`, "http://hl7.org/fhir/R4/xml.html"},
		"a choice in JSON": {xmlformat.FromJSON, `{"resourceType":"Observation","value":1}`,
			`Observation.value: line 1 column 31: "value" is no element of Observation; fix: write the type behind it, as in valueQuantity`, "http://hl7.org/fhir/R4/json.html"},
		"a DTD": {xmlformat.ToJSON, `<!DOCTYPE a><Patient @/>`,
			"line 1 column 1: a DOCTYPE or another declaration of a DTD; fix: send the document without it", "http://hl7.org/fhir/R4/xml.html"},
		"a namespace of a narrative": {xmlformat.ToJSON, `<Patient @><text><div>a</div></text></Patient>`,
			`Patient.text.div: line 1 column 44: div is not in the namespace of XHTML; fix: write xmlns="http://www.w3.org/1999/xhtml" on it`, "http://hl7.org/fhir/R4/xml.html"},
		"a boolean": {xmlformat.ToJSON, `<Patient @><active value="yes"/></Patient>`,
			"Patient.active: line 1 column 38: a boolean that is neither true nor false; fix: send a value of the type boolean", "http://hl7.org/fhir/R4/datatypes.html#boolean"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.convert([]byte(expand(c.document)))
			if err == nil {
				t.Fatal("accepted")
			}
			if err.Error() != c.want {
				t.Errorf("\n got %s\nwant %s", err, c.want)
			}
			if got := fhir.IssuesOf(err)[0].Spec; got != c.spec {
				t.Errorf("spec %s, want %s", got, c.spec)
			}
		})
	}
}
