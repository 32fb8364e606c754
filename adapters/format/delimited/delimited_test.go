package delimited

import (
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

// read is a whole table: the header, then each row as "line: cells" or the error.
func read(t testing.TB, body []byte) (header []string, rows []string) {
	t.Helper()
	r, err := Open(body)
	if err != nil {
		t.Fatal(err)
	}
	for row, err := range r.Rows() {
		if err != nil {
			rows = append(rows, err.Error())
			continue
		}
		text := fmt.Sprintf("%d: %s", row.Line, strings.Join(row.Cells, "|"))
		if row.Last {
			text += " (cut?)"
		}
		rows = append(rows, text)
	}
	return r.Header(), rows
}

func inUTF16(s string, order binary.AppendByteOrder, mark string) string {
	b := []byte(mark)
	for _, c := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, c)
	}
	return string(b)
}

func TestDialectsInWhichExportsCome(t *testing.T) {
	want := []string{"2: 1|café", "3: 2|"}
	for name, body := range map[string]string{
		"commas and LF":                     "id,name\n1,café\n2,\n",
		"semicolons":                        "id;name\n1;café\n2;\n",
		"tabs":                              "id\tname\n1\tcafé\n2\t\n",
		"CR LF":                             "id,name\r\n1,café\r\n2,\r\n",
		"lone CR":                           "id,name\r1,café\r2,\r",
		"every cell quoted":                 "\"id\",\"name\"\n\"1\",\"café\"\n\"2\",\"\"\n",
		"byte order mark":                   "\ufeffid,name\n1,café\n2,\n",
		"two byte order marks":              "\ufeff\ufeffid,name\n1,café\n2,\n",
		"byte order mark read as Latin-1":   "ï»¿id,name\n1,café\n2,\n",
		"byte order mark within the quotes": "\ufeff\"ï»¿\"\"\"\"id\"\"\"\"\",name\n1,café\n2,\n",
		"quoted after the byte order mark":  "\ufeff\"id\",\"name\"\n1,café\n2,\n",
		"UTF-16, little end first":          inUTF16("id,name\n1,café\n2,\n", binary.LittleEndian, "\xff\xfe"),
		"UTF-16, big end first":             inUTF16("id,name\n1,café\n2,\n", binary.BigEndian, "\xfe\xff"),
	} {
		t.Run(name, func(t *testing.T) {
			header, rows := read(t, []byte(body))
			if diff := cmp.Diff([]string{"id", "name"}, header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRows(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       []string
	}{
		{"blank lines are no rows and still count as lines", "\n \na,b\n\n1,2\n\n\n3,4\n", []string{"5: 1|2", "8: 3|4"}},
		{"a row too short is reported and the next one read", "a,b\n1\n3,4\n", []string{"line 2: 1 cells, but the header has 2; fix: the row is cut off or has a delimiter too many; export again", "3: 3|4"}},
		{"a row too long is reported and the next one read", "a,b\n1,2,3\n3,4\n", []string{"line 2: 3 cells, but the header has 2; fix: the row is cut off or has a delimiter too many; export again", "3: 3|4"}},
		{"the text may end without a line end, which is told", "a,b\n1,2", []string{"2: 1|2 (cut?)"}},
		{"a quoted cell may hold the delimiter, quotes and line ends", "a,b\n\"1,\"\"x\"\"\n2\",y\n3,4\n", []string{"2: 1,\"x\"\n2|y", "4: 3|4"}},
		{"a quote that is never closed costs its line only", "a,b\n\"1,2\n3,4\n5,6\n", []string{"line 2: a quote is not closed; fix: close or double the quote", "3: 3|4", "4: 5|6"}},
		{"two stray quotes cost their two lines, not what is between", "a,b\n1\",2\n3,4\n5\",6\n7,8\n", []string{"line 2: a quote stands inside a cell that does not begin with one", "3: 3|4", "line 4: a quote is not closed; fix: close or double the quote", "5: 7|8"}},
		{"text behind a closing quote is reported", "a,b\n\"1\"x,2\n3,4\n", []string{"line 2: text follows the closing quote of a cell", "3: 3|4"}},
		{"a control character is reported", "a,b\n1,x\x06\n3,4\n", []string{"line 2: a control character (U+0006)", "3: 3|4"}},
		{"decimal commas beside quoted cells", "\"a\",\"b\"\n\"5,8\",\"x\"\n", []string{"2: 5,8|x"}},
		{"what stands within quotes is no delimiter", "\"a;b;c;d\",x\n1,2\n", []string{"2: 1|2"}},
		{"a semicolon table may have commas in its names", "a;b (x, y, z);c;d\n1;2,5;3;4\n", []string{"2: 1|2,5|3|4"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, rows := read(t, []byte(test.body))
			if diff := cmp.Diff(test.want, rows); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTablesThatAreRefused(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"empty", "", "there is no header; fix: send the table with its header line"},
		{"blank", "\ufeff \r\n\n", "there is no header; fix: send the table with its header line"},
		{"NUL", "a,b\n1,\x00\n", "a NUL character after 6 bytes of text: this is no table, or it is UTF-16 without a byte order mark; fix: " + fixEncoding},
		{"Latin-1", "a,b\n1,caf\xe9\n", "byte 9 is not UTF-8; fix: " + fixEncoding},
		{"UTF-16 cut off", "\xff\xfea\x00,", "UTF-16 with an odd number of bytes: the table is cut off; fix: export again"},
		{"half a surrogate pair", "\xff\xfea\x00,\x00\x3d\xd8", "byte 6 is half a UTF-16 character; fix: " + fixEncoding},
		{"one column", "abc\n1\n", "line 1: the header has no comma, semicolon or tab between columns; fix: send the table as it was exported"},
		{"a header whose quote is open", "a,\"b\n1,2\n", "line 1: a quote is not closed; fix: close or double the quote"},
		{"too many columns", strings.Repeat("a,", MaxColumns) + "a\n", "line 1: the header: more than 200 cells; fix: send the table as it was exported"},
		{"a header without end", strings.Repeat("a", MaxLine) + ",b\n", "line 1: the line is longer than 1048576 bytes; fix: send the table as it was exported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open([]byte(test.body))
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if e, ok := errors.AsType[*Error](err); !ok || !e.Fatal {
				t.Errorf("not a fatal *Error: %#v", err)
			}
		})
	}
}

func TestALineBeyondTheLimitEndsReading(t *testing.T) {
	_, rows := read(t, []byte("a,b\n1,2\n"+strings.Repeat("x", MaxLine+1)+",2\n3,4\n"))
	want := []string{"2: 1|2", "line 3: the line is longer than 1048576 bytes; fix: send the table as it was exported"}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRowsBeyondTheLimitEndReading(t *testing.T) {
	r, err := Open([]byte("a,b\n" + strings.Repeat("1,2\n", MaxRows+2)))
	if err != nil {
		t.Fatal(err)
	}
	n, last := 0, error(nil)
	for _, err := range r.Rows() {
		if last = err; err == nil {
			n++
		}
	}
	if n != MaxRows || last == nil || last.Error() != "line 2000002: more than 2000000 rows; fix: split the export" {
		t.Errorf("%d rows, then %v", n, last)
	}
}

func TestReadingMayStopEarly(t *testing.T) {
	r, err := Open([]byte("a,b\n1,2\n3\n5,6\n"))
	if err != nil {
		t.Fatal(err)
	}
	for range r.Rows() {
		break
	}
	for row, err := range r.Rows() { // goes on behind the first row
		if err == nil {
			t.Errorf("line %d: want an error", row.Line)
		}
		break
	}
}

func TestNumber(t *testing.T) {
	for cell, want := range map[string]string{
		"72": "72", "72.50": "72.50", "5,8": "5.8", "-0,12": "-0.12", "+5": "5", ".5": "0.5", ",5": "0.5", "5.": "5",
		"007": "7", "000": "0", "0,123": "0.123", "−1.5": "-1.5", " 61.0 ": "61.0", "1.234": "1.234", "1234,567": "1234.567",
		"10,25": "10.25", "0": "0",
		// not a number, or not one in one way only
		"": "", "1,234": "", "-12,345": "", "1.2.3": "", "1,2,3": "", "1.234,5": "", "1e5": "", "--1": "", "Low": "", "1 2": "", "+": "", ".": "",
		strings.Repeat("1", MaxNumber+1): "", "٣": "",
	} {
		got, ok := Number(cell)
		if got != want || ok != (want != "") {
			t.Errorf("Number(%q) = %q, %v; want %q", cell, got, ok, want)
		}
	}
}

// TestWellFormedTablesReadAsEncodingCSVReadsThem: the standard library is the oracle.
func TestWellFormedTablesReadAsEncodingCSVReadsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(2, 6).Draw(t, "columns")
		cell := rapid.StringOf(rapid.SampledFrom([]rune("ab1,;\t\"\n é€.")))
		record := rapid.SliceOfN(cell, columns, columns)
		comma := rapid.SampledFrom([]rune{',', ';', '\t'}).Draw(t, "comma")
		header := make([]string, columns)
		for n := range header {
			header[n] = fmt.Sprintf("c%d", n)
		}
		var b strings.Builder
		w := csv.NewWriter(&b)
		w.Comma = comma
		w.UseCRLF = false
		_ = w.Write(header)
		for range rapid.IntRange(0, 6).Draw(t, "rows") {
			r := record.Draw(t, "record")
			r[0] = "x" + r[0] // a line that looks blank is no row here
			_ = w.Write(r)
		}
		w.Flush()
		oracle := csv.NewReader(strings.NewReader(b.String()))
		oracle.Comma = comma
		want, err := oracle.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open([]byte(b.String()))
		if err != nil {
			t.Fatal(err)
		}
		got := [][]string{r.Header()}
		for row, err := range r.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, slices.Clone(row.Cells))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-encoding/csv +delimited):\n%s", diff)
		}
	})
}

func FuzzTable(f *testing.F) {
	for _, seed := range []string{"a,b\n1,2\n", "a;b\r\n\"1\";\"2\r\n3\"\r\n", "\ufeff\"ï»¿\"\"\"\"a\"\"\"\"\"\tb\r1\t2\r", "a,b\n\"1,2\n3,4", inUTF16("a,b\n1,2", binary.LittleEndian, "\xff\xfe")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Open(body)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("not an *Error: %v", err)
			}
			return
		}
		line := 0
		for row, err := range r.Rows() {
			if row.Line <= line {
				t.Fatalf("line %d after line %d", row.Line, line)
			}
			line = row.Line
			if err == nil && len(row.Cells) != len(r.Header()) {
				t.Fatalf("line %d: %d cells under %d names", row.Line, len(row.Cells), len(r.Header()))
			}
			for _, c := range row.Cells {
				if n, ok := Number(c); ok && (strings.ContainsAny(n, ", ") || n == "") {
					t.Fatalf("%q as a number is %q", c, n)
				}
			}
		}
	})
}

func TestTheTablesOfTheReferenceMaterialAreRead(t *testing.T) {
	dir := filepath.Join(fhirtest.Shared(t), "samples", "dexcom")
	files, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables (%v)", err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open(body)
		if err != nil {
			t.Fatalf("%s: %v", filepath.Base(file), err)
		}
		if r.Header()[0] != "Index" {
			t.Errorf("%s: the first column is %q", filepath.Base(file), r.Header()[0])
		}
		for _, err := range r.Rows() {
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			}
		}
	}
}

func BenchmarkRows(b *testing.B) {
	body := []byte("Index,Time,Type,Value\n" + strings.Repeat("11,2025-05-01T00:01:47,EGV,165\n", 10000))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := Open(body)
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range r.Rows() {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
