package layout

import (
	"cmp"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// times from the year 1 to the end of the year 10000.
var times = rapid.Custom(func(t *rapid.T) time.Time {
	seconds := rapid.Int64Range(-62135596800, 253433923199).Draw(t, "seconds")
	nanos := rapid.OneOf(rapid.SampledFrom([]int64{0, 1, 1e6, 250e6, 999_999_999}), rapid.Int64Range(0, 999_999_999)).Draw(t, "nanoseconds")
	return time.Unix(seconds, nanos).UTC()
})

func TestTextsOfTimesAreInTheOrderOfTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := times.Draw(t, "a")
		b := times.Draw(t, "b")
		if rapid.Bool().Draw(t, "near") {
			b = a.Add(time.Duration(rapid.Int64Range(-2e9, 2e9).Draw(t, "apart")))
		}
		if got, want := cmp.Compare(moment(a), moment(b)), a.Compare(b); got != want {
			t.Fatalf("%s and %s compare as %d, the times as %d", moment(a), moment(b), got, want)
		}
		if moment(a) >= openEnd || moment(a) <= "" {
			t.Fatalf("%s is not between what is open", moment(a))
		}
	})
}

func TestTimesBeyondThoseThatOccurStayBeyond(t *testing.T) {
	before := time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)
	after := time.Date(20001, 1, 1, 0, 0, 0, 0, time.UTC)
	last := time.Date(10000, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
	if !(moment(before) < moment(time.Time{}) && moment(last) < moment(after) && moment(after) < openEnd) {
		t.Errorf("%s %s %s %s", moment(before), moment(time.Time{}), moment(last), moment(after))
	}
}

func TestTextsOfSortKeysAreInTheOrderOfTheKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := string(rapid.SliceOf(rapid.Byte()).Draw(t, "a")), string(rapid.SliceOf(rapid.Byte()).Draw(t, "b"))
		one, other := string(appendKey(nil, a)), string(appendKey(nil, b))
		if !utf8.ValidString(one) {
			t.Fatalf("%q is no text", one)
		}
		if cmp.Compare(one, other) != cmp.Compare(a, b) {
			t.Fatalf("%q and %q are in another order than %q and %q", one, other, a, b)
		}
	})
}

// values that are hard to write.
var values = rapid.OneOf(
	rapid.String(),
	rapid.StringOf(rapid.SampledFrom([]rune("a%|!~/é\x00…"))),
	rapid.Map(rapid.IntRange(100, 200), func(n int) string { return strings.Repeat("x|", n/2) + "y" }),
	rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 200), func(b []byte) string { return string(b) }),
	rapid.SampledFrom([]string{"http://loinc.org", "http://loinc.org/", "%l", "%25", "%!", "%*", "*", "http://terminology.hl7.org/CodeSystem/observation-category", "http://terminology.hl7.org/CodeSystem/", "observation-category", "%o"}),
)

func TestTwoTokensHaveTwoTerms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := [2]string{values.Draw(t, "code"), values.Draw(t, "system")}, [2]string{values.Draw(t, "other code"), values.Draw(t, "other system")}
		one, other := token("code", a[0], a[1]), token("code", b[0], b[1])
		if !utf8.ValidString(one) || len(one) > len("code=|")+2*(maxPart+40) {
			t.Fatalf("%q is too long, or no text", one)
		}
		if (one == other) != (a == b) {
			t.Fatalf("%q and %q have the terms %q and %q", a, b, one, other)
		}
		if strings.HasSuffix(one, "|"+foreign) {
			t.Fatalf("%q looks like a mark", one)
		}
	})
}

func TestTheTermOfABeginningIsTheBeginningOfTheTerm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start, rest := values.Draw(t, "start"), values.Draw(t, "rest")
		other := values.Draw(t, "other")
		if isCut(start) {
			return
		}
		prefix := string(appendPart(nil, start))
		for _, s := range []string{start + rest, start + "/" + rest, other} {
			term := string(appendPart(nil, s))
			in := term >= prefix && (after(prefix) == "" || term < after(prefix))
			if begins := strings.HasPrefix(s, start); in != begins {
				t.Fatalf("%q begins with %q: %v, the terms %q and %q: %v", s, start, begins, term, prefix, in)
			}
		}
	})
}

func TestARangeEndsRightBehindAllThatBeginsWithAText(t *testing.T) {
	for prefix, want := range map[string]string{"": "", "a": "b", "a\U0010FFFF": "b", "\U0010FFFF": "", "x\uD7FF": "x\uE000", "é": "ê", "a\x7f": "a\u0080"} {
		if got := after(prefix); got != want {
			t.Errorf("behind %q is %q, want %q", prefix, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		prefix, s := rapid.String().Draw(t, "prefix"), rapid.String().Draw(t, "text")
		if rapid.Bool().Draw(t, "longer") {
			s = prefix + s
		}
		end := after(prefix)
		if got, want := s >= prefix && (end == "" || s < end), strings.HasPrefix(s, prefix); got != want {
			t.Fatalf("%q is in the range of %q: %v, want %v", s, prefix, got, want)
		}
	})
}

func TestARangeOfFloatsHasTheNumberInIt(t *testing.T) {
	codes := []string{"mg/dL", "g", "Cel", "[degF]", "[pH]", "mm[Hg]", "/min", "%", "1", "Pa", "10*24/L", "B[V]"}
	u := units{known: map[string]*unit{}}
	rapid.Check(t, func(t *rapid.T) {
		n := apd.New(rapid.Int64().Draw(t, "digits"), int32(rapid.IntRange(-330, 330).Draw(t, "exponent")))
		q := search.Quantity{System: fhir.UCUM, Code: rapid.SampledFrom(codes).Draw(t, "code"), Low: n, High: n}
		low, high, kind, ok := u.canonical(&q)
		least, greatest, want, known := q.Canonical()
		if ok != known || kind != want {
			t.Fatalf("%q %v, want %q %v", kind, ok, want, known)
		}
		// Canonical is as near as floats are; what is kept must not be within it.
		if !ok {
			return
		}
		if low > math.Nextafter(least, math.Inf(1)) || high < math.Nextafter(greatest, math.Inf(-1)) {
			t.Fatalf("%s %s is from %g to %g, kept as %g to %g", n, q.Code, least, greatest, low, high)
		}
	})
}

func TestAPointIsFoundByWhatReachesIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := func(name string) *apd.Decimal {
			return apd.New(rapid.Int64Range(-1e6, 1e6).Draw(t, name), int32(rapid.IntRange(-320, 300).Draw(t, name+" exponent")))
		}
		n, from := number("n"), number("from")
		if rapid.Bool().Draw(t, "equal") {
			from = n
		}
		low, high := rangeOf(&search.Quantity{Low: n, High: n})
		middle := low + (high-low)/2
		if math.IsInf(middle, 0) || !near(middle, low) || !near(middle, high) {
			return // kept as a range
		}
		least, _ := apart(below(from), 0)
		_, most := apart(0, above(from))
		if n.Cmp(from) >= 0 && middle < least || n.Cmp(from) <= 0 && middle > most {
			t.Fatalf("%s is kept as %g and is not found from %g or to %g", n, middle, least, most)
		}
	})
}

func TestACodeAloneIsFoundByAFewTerms(t *testing.T) {
	terms := inAnySystem("code", "x")
	for _, system := range []string{"", "http://loinc.org", "urn:iso:std:iso:11073:10101", "http://terminology.hl7.org/CodeSystem/other", "urn:x", "%*"} {
		doc := documentOf(t, []byte(`{"resourceType":"Observation","id":"a","code":{"coding":[{"system":"`+system+`","code":"x"}]}}`))
		if system == "" {
			doc = documentOf(t, []byte(`{"resourceType":"Observation","id":"a","code":{"coding":[{"code":"x"}]}}`))
		}
		found := 0
		list, err := doc.Lookup("k").Array().Values()
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range list {
			for _, term := range terms {
				if v.StringValue() == term {
					found++
				}
			}
		}
		if found != 1 {
			t.Errorf("of the system %q %d terms are asked for: %v", system, found, list)
		}
	}
}
