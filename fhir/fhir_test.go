package fhir

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestKeysAreRelativeURLs(t *testing.T) {
	if got := (Key{Type: "Patient", ID: "1"}).String(); got != "Patient/1" {
		t.Error(got)
	}
	if got := (Key{"Patient", "1", "3"}).String(); got != "Patient/1/_history/3" {
		t.Error(got)
	}
}

// http://hl7.org/fhir/R4/datatypes.html#id
func TestValidID(t *testing.T) {
	for _, c := range []struct {
		name, id string
		want     bool
	}{
		{"a letter", "a", true},
		{"all kinds of characters", "aZ09-.", true},
		{"64 characters", strings.Repeat("a", 64), true},
		{"65 characters", strings.Repeat("a", 65), false},
		{"nothing", "", false},
		{"an underscore", "a_b", false},
		{"a slash", "a/b", false},
		{"a blank", "a b", false},
		{"a letter of no ASCII", "ä", false},
		{"a line end", "a\n", false},
	} {
		if got := ValidID(c.id); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestValidType(t *testing.T) {
	for text, want := range map[string]bool{"Patient": true, "X": true, "": false, "patient": false, "Patient1": false, "Pa tient": false, "Ä": false,
		strings.Repeat("A", 64): true, strings.Repeat("A", 65): false} {
		if got := ValidType(text); got != want {
			t.Errorf("ValidType(%q) = %v", text, got)
		}
	}
}

func TestHashIDNeverChanges(t *testing.T) {
	if got, want := HashID("Patient", "urn:oid:1.2.3", "SYN-1"), "quvpnqrktvusrfmtc3rtfb3dxidc6c6y"; got != want {
		t.Errorf("HashID = %s, want %s", got, want)
	}
}

func TestHashIDIsAnIDOfTheParts(t *testing.T) {
	parts := rapid.SliceOfN(rapid.StringN(0, 3, -1), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		if id := HashID(a...); !ValidID(id) || len(id) != 32 || id != strings.ToLower(id) {
			t.Fatalf("HashID(%q) = %s", a, id)
		}
		if (HashID(a...) == HashID(b...)) != (fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b)) {
			t.Fatalf("%q and %q", a, b)
		}
	})
	if HashID("ab", "c") == HashID("a", "bc") || HashID("a", "") == HashID("a") {
		t.Error("other parts give the same id")
	}
}

func TestParseIdentifier(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Identifier
		ok         bool
	}{
		{"both parts", "http://hospital.example/mrn|12345", Identifier{"http://hospital.example/mrn", "12345"}, true},
		{"a bar in the value", "s|a|b", Identifier{"s", "a|b"}, true},
		{"no bar", "12345", Identifier{}, false},
		{"no system", "|12345", Identifier{}, false},
		{"no value", "s|", Identifier{}, false},
		{"nothing", "", Identifier{}, false},
	} {
		got, err := ParseIdentifier(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
		if err != nil && err.Error() != `want system|value, as in "http://hospital.example/mrn|12345"` {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if !(Identifier{}).IsZero() || (Identifier{Value: "1"}).IsZero() {
		t.Error("IsZero")
	}
}

func TestErrorsSayWhereWhatAndHowToMendIt(t *testing.T) {
	one := Errorf(CodeValue, "OBX[3]-6", "%d is no unit", 7).WithFix("send UCUM").WithSpec("http://unitsofmeasure.org")
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"all there is", one, "OBX[3]-6: 7 is no unit; fix: send UCUM"},
		{"no place and no fix", Errorf(CodeValue, "", "no unit"), "no unit"},
		{"several issues", &Error{[]Issue{one.Issues[0], one.Issues[0], one.Issues[0]}}, "OBX[3]-6: 7 is no unit; fix: send UCUM (and 2 more)"},
		{"no issue", &Error{}, "unspecified failure"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if one.Issues[0].Spec != "http://unitsofmeasure.org" || one.Issues[0].Severity != SevError {
		t.Errorf("%+v", one.Issues[0])
	}
}

func TestIssuesOfFindsThemInAnyError(t *testing.T) {
	issue := Issue{Severity: Warning, Code: CodeValue, Message: "m"}
	for _, c := range []struct {
		name string
		err  error
		want Issue
	}{
		{"an Error", fmt.Errorf("rest: %w", &Error{[]Issue{issue}}), issue},
		{"an Issue", fmt.Errorf("rest: %w", issue), issue},
		{"an Error without issues", &Error{}, Issue{Severity: SevError, Code: CodeException, Message: "unspecified failure"}},
		{"any other", errors.New("disk full"), Issue{Severity: SevError, Code: CodeException, Message: "disk full"}},
	} {
		if got := IssuesOf(c.err); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
