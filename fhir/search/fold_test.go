package search

import (
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestFoldTakesAwayWhatPeopleWriteDifferently(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"smith", "smith"},
		{"Smith", "smith"},
		{"MÜLLER", "muller"},
		{"Mu\u0308ller", "muller"},
		{"Müller-Lüdenscheidt", "muller ludenscheidt"},
		{"  van   der\tBerg. ", "van der berg"},
		{"O'Brien", "o brien"},
		{"O’Brien", "o brien"},
		{"Straße", "straße"},
		{"İstanbul", "istanbul"},
		{"ﬁne", "fine"},
		{"½ mg", "1⁄2 mg"},
		{"Ἀθῆναι", "αθηναι"},
		{"東京、日本", "東京 日本"},
		{"---", ""},
		{"a b", "a b"},
		{"a ", "a"},
		{" a", "a"},
		{"\xff", "\ufffd"},
	} {
		if got := Fold(c.text); got != c.want {
			t.Errorf("Fold(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

func TestFoldOfFoldedTextIsTheSame(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		once := Fold("x" + string(r) + "y")
		if twice := Fold(once); twice != once {
			t.Errorf("%U: %q becomes %q", r, once, twice)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		once := Fold(rapid.String().Draw(t, "text"))
		if twice := Fold(once); twice != once {
			t.Fatalf("%q becomes %q", once, twice)
		}
	})
}
