package fhirpath

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestOperators(t *testing.T) {
	const body = `{"resourceType":"Patient","birthDate":"1970-01-31","name":[{"family":"A","given":["x","y"]},{"given":["x", "y"],"family":"A"},{"family":"B"}]}`
	for _, c := range []struct {
		about, source string
		want          Truth
	}{
		{"collections are equal item by item", "(1 | 2) = (1 | 2)", True},
		{"in their order", "(1 | 2) = (2 | 1)", False},
		{"and in number", "(1 | 2) != 1", True},
		{"nothing is equal to nothing", "{} = {}", None},
		{"and not unequal either", "(1 | 2) != {}", None},
		{"objects are equal however they are written", "name[0] = name[1]", True},
		{"and are not if they differ", "name[0] != name[2]", True},
		{"equivalence has no order", "(1 | 2 | 3) ~ (3 | 1 | 2)", True},
		{"but counts", "name[0].given.combine('x') ~ ('x' | 'y')", False},
		{"texts are equivalent in any case", "('A' | 'b') !~ ('B' | 'a')", False},
		{"each with one", "('A' | 'a') ~ ('a' | 'b')", False},
		{"nothing is equivalent to nothing", "{} ~ {}", True},
		{"a duration in UCUM is added", "birthDate + 1 'wk' = @1970-02-07", True},
		{"and taken away", "birthDate - 31 'd' = @1969-12-31", True},
		{"a month is one of the calendar", "@2020-05-31 + 1 day = @2020-06-01", True},
		{"to nothing nothing is added", "{} + 1", None},
		{"a text with nothing is the text", "'a' & {} = 'a'", True},
		{"not of what is no boolean is false", "birthDate.not()", False},
		{"a union has everything once", "(1.combine(1)).union(2).count() = 2", True},
		{"escapes are read one by one", `'a\\n\u0062\'\/'.length() = 6`, True},
		{"a pattern keeps its escapes", `'1.5'.matches('^\\d\\.\\d$')`, True},
		{"an empty pattern replaces nothing", "'abc'.replaceMatches('', 'x') = 'abc'", True},
		{"a month begins with its first day", "@2014-02.lowBoundary() = @2014-02-01", True},
		{"and ends with its last", "@2014-02.highBoundary(8) = @2014-02-28", True},
	} {
		t.Run(c.about, func(t *testing.T) {
			got, err := compile(t, c.source).Truth(context.Background(), Input{Element: []byte(body)})
			if err != nil || got != c.want {
				t.Errorf("%s: got %d, %v, want %d", c.source, got, err, c.want)
			}
		})
	}
	for _, c := range []struct{ about, source string }{
		{"a month of UCUM is none of the calendar", "birthDate + 1 'mo'"},
		{"a length is no time", "birthDate - 1 'cm'"},
		{"a date has no hours", "birthDate + 1 hour"},
		{"many values make no text", "(1 | 2) & 'a'"},
		{"many values have no opposite", "name.not()"},
		{"numbers have no boundaries here", "1.587.lowBoundary(2)"},
		{"nor has a time in another precision", "@2014.lowBoundary(6)"},
		{"an error on one side is the error", "birthDate = name.single()"},
	} {
		t.Run(c.about, func(t *testing.T) {
			if got, err := compile(t, c.source).Truth(context.Background(), Input{Element: []byte(body)}); !errors.Is(err, ErrFailed) {
				t.Errorf("%s: got %d, %v", c.source, got, err)
			}
		})
	}
}

func TestEquivalenceOfVeryManyValuesIsRefused(t *testing.T) {
	names := strings.TrimSuffix(strings.Repeat(`{"family":"A"},`, maxEquivalent+1), ",")
	body := []byte(`{"resourceType":"Patient","name":[` + names + `]}`)
	for source, want := range map[string]error{
		"name ~ name":                    nil,
		"name = name":                    nil,
		"name.family ~ name.select('a')": ErrTooCostly,
	} {
		if got, err := compile(t, source).Truth(context.Background(), Input{Element: body}); !errors.Is(err, want) || err == nil && got != True {
			t.Errorf("%s: got %d, %v", source, got, err)
		}
	}
}
