package search

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
)

func observation(body string) string {
	return `{"resourceType":"Observation","id":"o1","status":"final",` + body + `}`
}

func patient(body string) string { return `{"resourceType":"Patient","id":"p1",` + body + `}` }

func TestMatchesDatesAsTheStandardSays(t *testing.T) {
	var (
		on      = func(text string) string { return observation(`"effectiveDateTime":"` + text + `"`) }
		from    = func(text string) string { return observation(`"effectivePeriod":{"start":"` + text + `"}`) }
		until   = func(text string) string { return observation(`"effectivePeriod":{"end":"` + text + `"}`) }
		instant = func(text string) string { return observation(`"effectiveInstant":"` + text + `"`) }
	)
	for _, c := range []struct {
		name, resource, query string
		want                  bool
	}{
		// The examples of http://hl7.org/fhir/R4/search.html#date
		{"eq: midnight that begins the day", on("2013-01-14T00:00:00Z"), "date=eq2013-01-14", true},
		{"eq: ten o'clock of the day", on("2013-01-14T10:00:00Z"), "date=eq2013-01-14", true},
		{"eq: midnight that ends the day", on("2013-01-15T00:00:00Z"), "date=eq2013-01-14", false},
		{"ne: midnight that ends the day", on("2013-01-15T00:00:00Z"), "date=ne2013-01-14", true},
		{"ne: midnight that begins the day", on("2013-01-14T00:00:00Z"), "date=ne2013-01-14", false},
		{"ne: ten o'clock of the day", on("2013-01-14T10:00:00Z"), "date=ne2013-01-14", false},
		{"lt: the day includes a part before ten", on("2013-01-14"), "date=lt2013-01-14T10:00", true},
		{"gt: the day includes a part after ten", on("2013-01-14"), "date=gt2013-01-14T10:00", true},
		{"ge: an open period may include later times", from("2013-01-21"), "date=ge2013-03-14", true},
		{"le: an open period may include earlier times", from("2013-01-21"), "date=le2013-03-14", true},
		{"sa: a period that starts after", from("2013-03-15"), "date=sa2013-03-14", true},
		{"sa: a period that starts before", from("2013-01-21"), "date=sa2013-03-14", false},
		{"sa: a period that ends before", until("2013-01-21"), "date=sa2013-03-14", false},
		{"eb: a period that starts after", from("2013-03-15"), "date=eb2013-03-14", false},
		{"eb: a period that starts before and does not end", from("2013-01-21"), "date=eb2013-03-14", false},
		{"eb: a period that ends before", until("2013-01-21"), "date=eb2013-03-14", true},
		{"ap: the day itself", on("2013-03-14"), "date=ap2013-03-14", true},
		// http://hl7.org/fhir/R4/search.html#prefix
		{"eq: the search value must contain all of the other", on("2013"), "date=2013-01-14", false},
		{"eq: an open period is in no date", from("2013-01-14"), "date=2013", false},
		{"ne: an open period is in no date", from("2013-01-14"), "date=ne2013", true},
		{"gt: not the date itself", on("2013-01-14"), "date=gt2013-01-14", false},
		{"gt: not a part of it", on("2013-01-14T10:00:00Z"), "date=gt2013-01-14", false},
		{"gt: a longer date that reaches beyond", on("2013-01"), "date=gt2013-01-14", true},
		{"ge: the date itself", on("2013-01-14"), "date=ge2013-01-14", true},
		{"ge: a part of it", on("2013-01-14T10:00:00Z"), "date=ge2013-01-14", true},
		{"ge: not what ends where it begins", on("2013-01-13"), "date=ge2013-01-14", false},
		{"lt: not the date itself", on("2013-01-14"), "date=lt2013-01-14", false},
		{"le: the date itself", on("2013-01-14"), "date=le2013-01-14", true},
		{"le: not what begins where it ends", on("2013-01-15"), "date=le2013-01-14", false},
		{"sa: the very next moment", on("2013-01-15T00:00:00Z"), "date=sa2013-01-14", true},
		{"sa: not what overlaps", on("2013-01"), "date=sa2013-01-14", false},
		{"eb: the moment before", on("2013-01-13T23:59:59.999Z"), "date=eb2013-01-14", true},
		{"lt: an open start is before any date", until("2013-01-21"), "date=lt1900", true},
		{"gt: an open end is after any date", from("2013-01-21"), "date=gt2100", true},
		{"ap: what is near a date long ago", on("2013-09-01"), "date=ap2013-03-14", true},
		{"ap: what is not near", on("2015-06-15"), "date=ap2013-03-14", false},
		{"ap: yesterday, of today", on("2024-05-31"), "date=ap2024-06-01", false},
		// instants have no width
		{"an instant is in its second", instant("2013-01-14T10:00:00Z"), "date=2013-01-14T10:00:00Z", true},
		{"a second is not in an instant", on("2013-01-14T10:00:00Z"), "date=2013-01-14T10:00:00.000Z", false},
		{"fractions compare as numbers", on("2013-01-14T10:00:00.5Z"), "date=2013-01-14T10:00:00.500Z", true},
		{"nanoseconds count", on("2013-01-14T10:00:00.000000001Z"), "date=gt2013-01-14T10:00:00.000Z", true},
		{"offsets are applied on both sides", on("2013-01-14T10:00:00+02:00"), "date=2013-01-14T09:00:00+01:00", true},
		{"a date without a zone is UTC", on("2024-01-01T00:00:00+01:00"), "date=2024", false},
		{"its year is the one of UTC", on("2024-01-01T00:00:00+01:00"), "date=2023", true},
		// values that are not there
		{"eq: no date", observation(`"value":1`), "date=2013", false},
		{"ne: no date is no other date", observation(`"value":1`), "date=ne2013", false},
		{"missing: no date", observation(`"value":1`), "date:missing=true", true},
		{"missing: a date that is none", on("2013-02-30"), "date:missing=true", true},
		{"not missing: no date", observation(`"value":1`), "date:missing=false", false},
		{"not missing: a date", on("2013"), "date:missing=false", true},
		// several values and several conditions
		{"one of two alternatives is enough", on("2013-01-14"), "date=2012,2013", true},
		{"alternatives have prefixes of their own", on("2013-01-14"), "date=lt2000,gt2012", true},
		{"all conditions must hold", on("2013-01-14"), "date=ge2013&date=lt2013-01-14", false},
		{"each condition holds for itself", observation(`"effectivePeriod":{"start":"2012","end":"2014"}`), "date=lt2013&date=gt2013", true},
	} {
		if got := matches(t, c.resource, c.query); got != c.want {
			t.Errorf("%s: %s matches %s: %v", c.name, c.query, c.resource, got)
		}
	}
}

func TestMatchesQuantitiesAsTheStandardSays(t *testing.T) {
	var (
		is = func(value string) string {
			return observation(`"valueQuantity":{"value":` + value + `,"unit":"milligrams","system":"http://unitsofmeasure.org","code":"mg"}`)
		}
		less    = observation(`"valueQuantity":{"value":20,"comparator":"<"}`)
		most    = observation(`"valueQuantity":{"value":20,"comparator":"<="}`)
		more    = observation(`"valueQuantity":{"value":20,"comparator":">"}`)
		samples = observation(`"valueSampledData":{"origin":{"value":0},"data":"10 30"}`)
	)
	for _, c := range []struct {
		name, resource, query string
		want                  bool
	}{
		// http://hl7.org/fhir/R4/search.html#number
		{"the lower edge of the precision belongs to it", is("99.5"), "100", true},
		{"the upper edge does not", is("100.5"), "100", false},
		{"just below the upper edge", is("100.49999"), "100", true},
		{"more digits are more precise", is("100.01"), "100.00", false},
		{"digits of the resource do not count", is("100.000"), "100", true},
		{"ne is the opposite of eq", is("100.4"), "ne100", false},
		{"ne: another number", is("101"), "ne100", true},
		{"gt ignores the precision", is("100.1"), "gt100", true},
		{"gt: not the number itself", is("100.0"), "gt100", false},
		{"ge: the number itself", is("100.0"), "ge100", true},
		{"ge: not what is less within the precision", is("99.9"), "ge100", false},
		{"lt ignores the precision", is("99.9"), "lt100", true},
		{"le: the number itself", is("100"), "le100", true},
		{"sa: not the number itself", is("100"), "sa100", false},
		{"sa: a greater number", is("100.01"), "sa100", true},
		{"eb: a lesser number", is("99.99"), "eb100", true},
		{"eb: not the number itself", is("100"), "eb100", false},
		{"ap: ten percent away", is("110"), "ap100", true},
		{"ap: more than ten percent away", is("110.1"), "ap100", false},
		{"ap: ten percent below a negative number", is("-110"), "ap-100", true},
		{"decimals compare exactly", is("0.1"), "ge0.1000000000000000000000000001", false},
		// http://hl7.org/fhir/R4/search.html#quantity
		{"5.4 mg", is("5.44"), "5.4|http://unitsofmeasure.org|mg", true},
		{"5.4 mg, not 5.45", is("5.45"), "5.4|http://unitsofmeasure.org|mg", false},
		{"5.40e-3", is("0.0054049"), "5.40e-3|http://unitsofmeasure.org|mg", true},
		{"a unit that is the code", is("5.4"), "5.4||mg", true},
		{"a unit that is for people", is("5.4"), "5.4||milligrams", true},
		{"a unit that is neither", is("5.4"), "5.4||g", false},
		{"a unit in other case", is("5.4"), "5.4||MG", false},
		{"any unit", is("5.4"), "5.4", true},
		{"a unit for people is no code", is("5.4"), "5.4|http://unitsofmeasure.org|milligrams", false},
		{"the right system", is("5.4"), "5.4|http://unitsofmeasure.org|", true},
		{"another system", is("5.4"), "5.4|http://x|mg", false},
		{"ne wants the unit to be right", is("6"), "ne5.4|http://x|mg", false},
		// comparators: the value is somewhere beyond
		{"less than 20 may be 5", less, "lt6", true},
		{"less than 20 may be over 5", less, "gt5", true},
		{"less than 20 is not over 20", less, "gt20", false},
		{"less than 20 is not 20", less, "ge20", false},
		{"at most 20 may be 20", most, "ge20", true},
		{"less than 20 is no certain number", less, "20", false},
		{"less than 20 is not 20 for certain", less, "ne20", true},
		{"more than 20 is over 20 for certain", more, "sa20", true},
		{"more than 20 is over 19 for certain", more, "sa19", true},
		{"more than 20 is not over 21 for certain", more, "sa21", false},
		{"less than 20 is below 20 for certain", less, "eb20", true},
		{"at most 20 is not below 20 for certain", most, "eb20", false},
		{"more than 20 is not at most 20", more, "le20", false},
		{"more than 20 may be near 20", more, "ap20", true},
		{"more than 20 may not be near 10", more, "ap10", false},
		// SampledData: bounds
		{"samples reach above", samples, "gt29", true},
		{"samples do not reach above", samples, "gt30", false},
		{"samples reach down", samples, "lt11", true},
		{"the highest sample counts", samples, "ge30", true},
		{"all samples above", samples, "sa9", true},
		{"not all samples above", samples, "sa10", false},
		{"all samples within", samples, "2e1", false},
		{"all samples within a coarse number", samples, "0e2", true},
		{"samples near", samples, "ap30", true},
	} {
		if got := matches(t, c.resource, "value-quantity="+c.query); got != c.want {
			t.Errorf("%s: %s matches %s: %v", c.name, c.query, c.resource, got)
		}
	}
}

func TestMatchesTokensReferencesAndTheRest(t *testing.T) {
	var (
		heart   = observation(`"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"},{"code":"HR"}],"text":"pulse"},"component":[{"code":{"coding":[{"code":"part"}]}}]`)
		about   = func(reference string) string { return observation(`"subject":{"reference":"` + reference + `"}`) }
		logical = observation(`"subject":{"type":"Patient","identifier":{"system":"s","value":"aB"}}`)
	)
	for _, c := range []struct {
		name, resource, query string
		want                  bool
	}{
		// http://hl7.org/fhir/R4/search.html#token
		{"a bare code", heart, "code=8867-4", true},
		{"code and system", heart, "code=http://loinc.org|8867-4", true},
		{"another system", heart, "code=http://x|8867-4", false},
		{"no system where there is one", heart, "code=|8867-4", false},
		{"no system where there is none", heart, "code=|HR", true},
		{"any code of a system", heart, "code=http://loinc.org|", true},
		{"any code of another system", heart, "code=http://x|", false},
		{"a code in other case", heart, "code=hr", true},
		{"a text is no code", heart, "code=pulse", false},
		{"a part of a code", heart, "code=8867", false},
		{"a component code is none of code", heart, "code=part", false},
		{"a component code is one of combo-code", heart, "combo-code=part", true},
		{"a code is one of combo-code", heart, "combo-code=HR", true},
		{"system and code of different codings", heart, "code=http://loinc.org|HR", false},
		{"alternatives", heart, "code=x,HR", true},
		{"two conditions on one element", heart, "code=HR&code=8867-4", true},
		{"not: one coding is the one", heart, "code:not=HR", false},
		{"not: none is", heart, "code:not=x", true},
		{"not: none of several", heart, "code:not=x,y", true},
		{"not: one of several", heart, "code:not=x,HR", false},
		{"not: no value at all", patient(`"active":true`), "gender:not=male", true},
		{"a gender", patient(`"gender":"male"`), "gender=male", true},
		{"a gender with its system", patient(`"gender":"male"`), "gender=http://hl7.org/fhir/administrative-gender|male", true},
		{"a gender with another system", patient(`"gender":"male"`), "gender=http://x|male", false},
		{"a gender without a system", patient(`"gender":"male"`), "gender=|male", true},
		{"a gender in other case", patient(`"gender":"male"`), "gender=Male", false},
		{"missing: an extension is no value", patient(`"_gender":{"extension":[{"url":"u","valueString":"x"}]}`), "gender:missing=true", true},
		{"missing and not missing", patient(`"gender":"male"`), "gender:missing=false", true},
		{"active", patient(`"active":true`), "active=true", true},
		{"inactive is not active", patient(`"active":false`), "active=true", false},
		{"unknown is not inactive", patient(`"gender":"male"`), "active=false", false},
		{"an identifier", patient(`"identifier":[{"system":"s","value":"aB"}]`), "identifier=s|aB", true},
		{"an identifier in other case", patient(`"identifier":[{"system":"s","value":"aB"}]`), "identifier=s|ab", false},
		{"an identifier of any system", patient(`"identifier":[{"system":"s","value":"aB"}]`), "identifier=aB", true},
		{"an id", patient(`"active":true`), "_id=p1", true},
		{"one of several ids", patient(`"active":true`), "_id=p0,p1", true},
		{"an id in other case", patient(`"active":true`), "_id=P1", false},
		{"not an id", patient(`"active":true`), "_id:not=p1", false},
		{"an id is never missing", patient(`"active":true`), "_id:missing=true", false},
		// http://hl7.org/fhir/R4/search.html#lastUpdated
		{"changed today", patient(`"active":true`), "_lastUpdated=2024-06-01", true},
		{"changed after", patient(`"active":true`), "_lastUpdated=gt2024-06-01T11:59:59Z", true},
		{"changed at that moment", patient(`"active":true`), "_lastUpdated=2024-06-01T12:00:00.000Z", true},
		{"not changed after that moment", patient(`"active":true`), "_lastUpdated=gt2024-06-01T12:00:00.000Z", false},
		{"the time of change is never missing", patient(`"active":true`), "_lastUpdated:missing=false", true},
		// http://hl7.org/fhir/R4/search.html#reference
		{"a bare id", about("Patient/1"), "patient=1", true},
		{"type and id", about("Patient/1"), "patient=Patient/1", true},
		{"an absolute URL of this server", about("Patient/1"), "patient=" + base + "/Patient/1", true},
		{"the same URL on another server", about("Patient/1"), "patient=https://x.example/fhir/Patient/1", false},
		{"an absolute reference", about("https://x.example/fhir/Patient/1"), "patient=https://x.example/fhir/Patient/1", true},
		{"a bare id is none of another server", about("https://x.example/fhir/Patient/1"), "patient=1", false},
		{"a versioned reference", about("Patient/1/_history/5"), "patient=Patient/1", true},
		{"another type with the same id", about("Device/1"), "subject=Patient/1", false},
		{"a bare id of any type", about("Device/1"), "subject=1", true},
		{"a device is no patient", about("Device/1"), "patient=1", false},
		{"a type as the modifier", about("Patient/1"), "subject:Patient=1", true},
		{"another type as the modifier", about("Patient/1"), "subject:Device=1", false},
		{"ids compare with case", about("Patient/a"), "patient=A", false},
		{"a URN", about("urn:uuid:1"), "subject=urn:uuid:1", true},
		{"missing: no reference", observation(`"issued":"2024"`), "subject:missing=true", true},
		{"missing: the subject is no patient", about("Device/1"), "patient:missing=true", true},
		{"an identifier", logical, "subject:identifier=s|aB", true},
		{"an identifier of any system", logical, "patient:identifier=aB", true},
		{"an identifier in other case", logical, "subject:identifier=s|ab", false},
		{"an identifier is no id", logical, "subject=aB", false},
		{"an id is no identifier", about("Patient/1"), "subject:identifier=1", false},
		{"no identifier is not one without a system", about("Patient/1"), "subject:identifier=s|", false},
		{"a logical reference is not missing", logical, "patient:missing=false", true},
		{"nothing is asked", heart, "", true},
	} {
		if got := matches(t, c.resource, c.query); got != c.want {
			t.Errorf("%s: %s matches %s: %v", c.name, c.query, c.resource, got)
		}
	}
}

func TestMatchesStringsURIsSetsAndComposites(t *testing.T) {
	var (
		named  = patient(`"name":[{"family":"van der Müller","given":["Ann-Marie","Zoë"],"prefix":["Dr."]},{"text":"Smith, J."}],"gender":"male"`)
		vs     = func(url string) string { return `{"resourceType":"ValueSet","id":"v1","url":"` + url + `"}` }
		typed  = patient(`"identifier":[{"type":{"coding":[{"system":"t","code":"MR"},{"code":"X"}],"text":"Medical Record"},"system":"s","value":"aB"}]`)
		vitals = observation(`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}],"text":"Signs of life"}]`)
		blood  = observation(`"code":{"coding":[{"code":"bp"}]},"component":[{"code":{"coding":[{"code":"sys"}]},"valueQuantity":{"value":120}},{"code":{"coding":[{"code":"dia"},{"code":"low"}]},"valueQuantity":{"value":80}}]`)
		risk   = `{"resourceType":"RiskAssessment","id":"r1","prediction":[{"probabilityDecimal":0.3},{"probabilityDecimal":0.75}]}`
		v3     = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
		high   = func(system string) string {
			return observation(`"interpretation":[{"coding":[{"system":"` + system + `","code":"HH"}]}]`)
		}
		report = `{"resourceType":"MeasureReport","id":"m1","measure":"http://x.example/Measure/a|1.0"}`
	)
	const sets = "http://hl7.org/fhir/ValueSet/"
	for _, c := range []struct {
		name, resource, query string
		want                  bool
	}{
		// http://hl7.org/fhir/R4/search.html#string
		{"the beginning", named, "family=van", true},
		{"case and accents do not matter", named, "family=VAN DER MULLER", true},
		{"white space and punctuation do not matter", named, "given=ann  marie", true},
		{"an accent in the query", named, "given=zoé", true},
		{"not in the middle", named, "family=muller", false},
		{"contains: in the middle", named, "family:contains=ÜLL", true},
		{"contains: nowhere", named, "family:contains=x", false},
		{"exact: all of it", named, "family:exact=van der Müller", true},
		{"exact: case matters", named, "family:exact=Van der Müller", false},
		{"exact: accents matter", named, "family:exact=van der Muller", false},
		{"exact: not the beginning", named, "family:exact=van", false},
		{"any part of a name", named, "name=smith", true},
		{"each part for itself", named, "name=zoe smith", false},
		{"two conditions on a name", named, "name=zoe&name=smith", true},
		{"alternatives", named, "name=x,zo", true},
		{"an escaped comma", named, `name=smith\, j`, true},
		{"missing", named, "address:missing=true", true},
		{"not missing", named, "family:missing=false", true},
		// http://hl7.org/fhir/R4/search.html#uri
		{"a URL", vs("http://x/a"), "url=http://x/a", true},
		{"a URL is compared with case", vs("http://x/a"), "url=http://x/A", false},
		{"a part of a URL", vs("http://x/a"), "url=http://x", false},
		{"a URN", vs("urn:oid:1.2"), "url=urn:oid:1.2", true},
		{"below: a part", vs("http://x/a/b"), "url:below=http://x/a", true},
		{"below: a part and a slash", vs("http://x/a/b"), "url:below=http://x/a/", true},
		{"below: itself", vs("http://x/a"), "url:below=http://x/a", true},
		{"below: not half a part", vs("http://x/ab"), "url:below=http://x/a", false},
		{"below: a fragment", vs("http://x/a#b"), "url:below=http://x/a", true},
		{"below: a scheme", vs("http://x/a"), "url:below=http", true},
		{"below: no URN", vs("urn:oid:1.2"), "url:below=urn:oid:1", false},
		{"below: not itself as a URN", vs("urn:oid:1.2"), "url:below=urn:oid:1.2", false},
		{"above: a part", vs("http://x/a"), "url:above=http://x/a/b", true},
		{"above: not half a part", vs("http://x/a"), "url:above=http://x/ab", false},
		{"above: no URN", vs("urn:oid:1"), "url:above=urn:oid:1", false},
		// http://hl7.org/fhir/R4/search.html#modifiers
		{"text: a display", vitals, "category:text=vital", true},
		{"text: of the concept", vitals, "category:text=SIGNS OF", true},
		{"text: only the beginning", vitals, "category:text=life", false},
		{"text: no code", vitals, "category:text=vital-signs", true},
		{"text: of the type of an identifier", typed, "identifier:text=medical", true},
		{"of-type: type and value", typed, "identifier:of-type=t|MR|aB", true},
		{"of-type: another value", typed, "identifier:of-type=t|MR|aC", false},
		{"of-type: another type", typed, "identifier:of-type=t|XX|aB", false},
		{"of-type: the system is that of the type", typed, "identifier:of-type=s|MR|aB", false},
		{"in: a value set", named, "gender:in=" + sets + "administrative-gender", true},
		{"in: another value set", named, "gender:in=" + sets + "observation-status", false},
		{"not-in: a value set", named, "gender:not-in=" + sets + "administrative-gender", false},
		{"not-in: another value set", named, "gender:not-in=" + sets + "observation-status", true},
		{"in: no value", patient(`"active":true`), "gender:in=" + sets + "administrative-gender", false},
		{"not-in: no value", patient(`"active":true`), "gender:not-in=" + sets + "administrative-gender", true},
		{"in: one of several", named, "gender:in=" + sets + "observation-status," + sets + "administrative-gender", true},
		{"in: codes without case", high("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"), "interpretation:in=" + sets + "observation-interpretation", true},
		{"in: the right system", high("x"), "interpretation:in=" + sets + "observation-interpretation", false},
		{"below: a code", high(v3), "interpretation:below=" + v3 + "|A", true},
		{"below: a code alone", high(v3), "interpretation:below=A", true},
		{"below: the code itself, without case", high(v3), "interpretation:below=h", true},
		{"below: another branch", high(v3), "interpretation:below=L", false},
		{"below: of the system only", high("x"), "interpretation:below=A", false},
		{"below: one of several", high(v3), "interpretation:below=L,A", true},
		{"above: a code", high(v3), "interpretation:above=HH", true},
		{"above: not what is below", high(v3), "interpretation:above=A", false},
		{"below: a code whose system is implied", observation(`"code":{}`), "status:below=amended", false},
		{"below: a status", strings.Replace(observation(`"code":{}`), "final", "corrected", 1), "status:below=amended", true},
		{"below: a status with its system", strings.Replace(observation(`"code":{}`), "final", "corrected", 1), "status:below=http://hl7.org/fhir/observation-status|amended", true},
		{"above: a status", strings.Replace(observation(`"code":{}`), "final", "amended", 1), "status:above=corrected", true},
		{"below: a code that the system does not have is itself", high(v3), "interpretation:below=" + v3 + "|nothing,H", true},
		// http://hl7.org/fhir/R4/search.html#number
		{"a number", risk, "probability=0.3", true},
		{"a number within the precision", risk, "probability=0.8", true},
		{"a number of several", risk, "probability=gt0.5", true},
		{"no number", risk, "probability=gt0.9", false},
		// http://hl7.org/fhir/R4/search.html#composite
		{"a pair", blood, "component-code-value-quantity=sys$120", true},
		{"a pair of different repetitions", blood, "component-code-value-quantity=sys$80", false},
		{"a pair with a prefix", blood, "component-code-value-quantity=dia$lt90", true},
		{"a pair of any code", blood, "component-code-value-quantity=low$ge80", true},
		{"alternative pairs", blood, "component-code-value-quantity=sys$1,dia$80", true},
		{"two pairs", blood, "component-code-value-quantity=sys$120&component-code-value-quantity=dia$80", true},
		{"a pair of the whole", blood, "code-value-quantity=bp$120", false},
		{"a pair of everything", blood, "combo-code-value-quantity=sys$120", true},
		// http://hl7.org/fhir/R4/references.html#canonical
		{"a canonical URL", report, "measure=http://x.example/Measure/a", true},
		{"a canonical URL with its version", report, "measure=http://x.example/Measure/a|1.0", true},
		{"a canonical URL with another version", report, "measure=http://x.example/Measure/a|2.0", false},
	} {
		if got := matches(t, c.resource, c.query); got != c.want {
			t.Errorf("%s: %s matches %s: %v", c.name, c.query, c.resource, got)
		}
	}
}

func TestALinkThatIsNotResolvedMatchesNothing(t *testing.T) {
	key, found := terms(t, observation(`"subject":{"reference":"Patient/1"}`))
	for _, query := range []string{"subject:Patient.gender=male", "_has:Observation:derived-from:status=final"} {
		if q := parse(t, "Observation", query); q.Matches(key, now, &found) {
			t.Errorf("%s matches", query)
		}
	}
}

func TestAQueryFindsResourcesOfItsTypeOnly(t *testing.T) {
	q := parse(t, "Patient", "")
	if q.Matches(fhir.Key{Type: "Device", ID: "1"}, now, &Terms{}) {
		t.Error("a search for Patients finds a Device")
	}
}

// anything generates Observations as JSON, whole in what search looks at, odd now and then.
func anything() *rapid.Generator[string] {
	one := func(values ...string) *rapid.Generator[string] { return rapid.SampledFrom(values) }
	dates := one("2023", "2024-01", "2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", "2024-01-01T00:00:00.5Z", "2024-12-31T23:59:59Z", "2025")
	numbers := one("0", "5", "5.0", "5.04", "5.4", "-5", "50", "5e1", "0.005")
	return rapid.Custom(func(t *rapid.T) string {
		var m []string
		add := func(format string, values ...any) {
			if rapid.Bool().Draw(t, "has") {
				m = append(m, fmt.Sprintf(format, values...))
			}
		}
		code := func() string {
			return one(`{"code":"a"}`, `{"system":"s","code":"a"}`, `{"system":"s","code":"B"}`, `{"system":"s"}`, `{}`).Draw(t, "coding")
		}
		add(`"code":{"coding":[%s,%s]}`, code(), code())
		add(`"component":[{"code":{"coding":[%s]},"valueQuantity":{"value":%s}},{"valueQuantity":{"value":%s,"unit":"u"}}]`, code(), numbers.Draw(t, "n"), numbers.Draw(t, "n"))
		add(`"status":"%s"`, one("final", "amended").Draw(t, "status"))
		add(`"subject":{"reference":"%s"}`, one("Patient/1", "Patient/2", "Device/1", "https://x.example/Patient/1").Draw(t, "subject"))
		switch rapid.IntRange(0, 3).Draw(t, "effective") {
		case 1:
			add(`"effectiveDateTime":"%s"`, dates.Draw(t, "date"))
		case 2:
			add(`"effectivePeriod":{"start":"%s","end":"%s"}`, dates.Draw(t, "start"), dates.Draw(t, "end"))
		case 3:
			add(`"effectivePeriod":{"%s":"%s"}`, one("start", "end").Draw(t, "side"), dates.Draw(t, "date"))
		}
		switch rapid.IntRange(0, 2).Draw(t, "value") {
		case 1:
			add(`"valueQuantity":{"value":%s,"code":"%s","comparator":"%s"}`, numbers.Draw(t, "n"), one("u", "v").Draw(t, "code"), one("<", "<=", ">", ">=", "?").Draw(t, "comparator"))
		case 2:
			add(`"valueQuantity":{"value":%s,"system":"s","unit":"u"}`, numbers.Draw(t, "n"))
		}
		m = append(m, `"resourceType":"Observation"`)
		return "{" + strings.Join(m, ",") + "}"
	})
}

// alternative generates a value of a parameter.
func alternative(p Param, prefix Prefix) *rapid.Generator[string] {
	switch p.Type {
	case DateParam:
		return rapid.Map(rapid.SampledFrom([]string{"2023", "2024", "2024-01", "2024-01-01", "2024-01-01T00:00Z", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5Z", "2025-01-01"}),
			func(s string) string { return string(prefix) + s })
	case QuantityParam:
		return rapid.Map(rapid.SampledFrom([]string{"5", "5.0", "5.04", "0", "-5", "5e1", "50||u", "5|s|", "5||v"}), func(s string) string { return string(prefix) + s })
	case ReferenceParam:
		return rapid.SampledFrom([]string{"1", "2", "Patient/1", "Device/1", "https://x.example/Patient/1"})
	default:
		return rapid.SampledFrom([]string{"a", "b", "s|a", "|a", "s|", "final"})
	}
}

// finds draws a resource and tells which queries find it.
func finds(t *rapid.T) (resource string, find func(query string) bool) {
	resource = anything().Draw(t, "resource")
	found, err := R4().Extract("Observation", []byte(resource))
	if err != nil {
		t.Fatal(err)
	}
	return resource, func(query string) bool {
		q, _, err := tryParse("Observation", text(query), Strict)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return q.Matches(fhir.Key{Type: "Observation", ID: "a"}, now, &found)
	}
}

var ordered = []string{"date", "value-quantity", "component-value-quantity", "combo-value-quantity"}

func TestPrefixesRelateToEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		resource, find := finds(t)
		name := rapid.SampledFrom(ordered).Draw(t, "param")
		p, _ := R4().Lookup("Observation", name)
		value := alternative(p, "").Draw(t, "value")
		is := map[Prefix]bool{}
		for _, prefix := range []Prefix{EQ, NE, GT, LT, GE, LE, SA, EB, AP} {
			is[prefix] = find(name + "=" + string(prefix) + value)
		}
		for _, rule := range []struct {
			name string
			ok   bool
		}{
			{"no prefix is eq", find(name+"="+value) == is[EQ]},
			{"gt is in ge", !is[GT] || is[GE]},
			{"lt is in le", !is[LT] || is[LE]},
			{"sa is in gt", !is[SA] || is[GT]},
			{"eb is in lt", !is[EB] || is[LT]},
			{"eq is in ap", !is[EQ] || is[AP]},
			{"a date that is eq is ge and le", !is[EQ] || p.Type != DateParam || is[GE] && is[LE]},
			{"what has a date or a number is somewhere", is[GE] || is[LE] || !(is[EQ] || is[NE])},
		} {
			if !rule.ok {
				t.Fatalf("%s: %s %s of %s: %v", rule.name, name, value, resource, is)
			}
		}
		// With a unit eq and ne are both wrong for other units; several values can be both.
		if one := name == "date" || name == "value-quantity" && !strings.Contains(value, "|"); one {
			if has := find(name + ":missing=false"); has != (is[EQ] || is[NE]) || is[EQ] && is[NE] {
				t.Fatalf("eq %v and ne %v of %s: %s", is[EQ], is[NE], name, resource)
			}
		}
	})
}

func TestAlternativesAddAndConditionsTakeAway(t *testing.T) {
	var names []string
	for _, p := range R4().Of("Observation") {
		if p.Name[0] != '_' && p.Type != CompositeParam {
			names = append(names, p.Name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		resource, find := finds(t)
		name := rapid.SampledFrom(names).Draw(t, "param")
		p, _ := R4().Lookup("Observation", name)
		prefix := Prefix("")
		if slices.Contains(ordered, name) {
			prefix = rapid.SampledFrom([]Prefix{EQ, NE, GT, LT, GE, LE, SA, EB, AP}).Draw(t, "prefix")
		}
		a, b := alternative(p, prefix).Draw(t, "a"), alternative(p, prefix).Draw(t, "b")
		if p.Type == TokenParam && (name == "status") != (a == "final") {
			a = "a"
		}
		if find(name+"="+a+","+b) != (find(name+"="+a) || find(name+"="+b)) {
			t.Fatalf("%s=%s,%s is not one or the other: %s", name, a, b, resource)
		}
		if find(name+"="+a+"&"+name+"="+b) != (find(name+"="+a) && find(name+"="+b)) {
			t.Fatalf("%s=%s and %s is not both: %s", name, a, b, resource)
		}
		if find(name+":missing=true") == find(name+":missing=false") {
			t.Fatalf("%s is both there and missing: %s", name, resource)
		}
		if find(name+":missing=true") && find(name+"="+a) {
			t.Fatalf("%s=%s is found where %s is missing: %s", name, a, name, resource)
		}
		if p.Type == TokenParam && find(name+":not="+a) == find(name+"="+a) {
			t.Fatalf("%s:not=%s is not the opposite: %s", name, a, resource)
		}
	})
}

func TestAWiderDateFindsWhatANarrowerOneFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		resource, find := finds(t)
		at := time.Unix(rapid.Int64Range(1700000000, 1736000000).Draw(t, "at"), 0).UTC().Format("2006-01-02T15:04:05Z")
		found := false
		for _, n := range []int{len("2006-01-02T15:04:05"), len("2006-01-02"), len("2006-01"), len("2006")} {
			wider := find("date=" + at[:n])
			if found && !wider {
				t.Fatalf("date=%s finds less than what is within it: %s", at[:n], resource)
			}
			found = wider
		}
	})
}
