package hl7v2

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/text/encoding/unicode"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir/fhirtest"
)

const header = `MSH|^~\&|APP^080019FFFE000001^EUI-64|WARD|||20260301120000+0100||ORU^R01^ORU_R01|1|P|2.6`

func parseOne(t *testing.T, text string) Message {
	t.Helper()
	messages, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) != 1 {
		t.Fatalf("got %d messages, want 1", len(messages))
	}
	return messages[0]
}

func TestFieldsAreCountedAsTheStandardDoes(t *testing.T) {
	m := parseOne(t, header+"\rOBX|1|NM|8^HR^MDC~9^X^L|1.2|a&b^c||\rOBX|2\rZZZ\r")
	for _, c := range []struct{ what, got, want string }{
		{"MSH-1 is the field separator", m.Header().Field(1).Raw(), "|"},
		{"MSH-1 is not taken apart", m.Header().Field(1).Value(), "|"},
		{"MSH-2 are the encoding characters", m.Header().Field(2).Raw(), `^~\&`},
		{"MSH-3 follows them", m.Header().Field(3).Value(), "APP"},
		{"MSH-3.2 is its second component", m.Header().Field(3).Component(2).Value(), "080019FFFE000001"},
		{"MSH-12 is the last field", m.Header().Field(12).Value(), "2.6"},
		{"a field beyond the last is empty", m.Header().Field(13).Value(), ""},
		{"field 0 is empty", m.Header().Field(0).Value(), ""},
		{"the first repetition is the default", m.Segments[1].Field(3).Component(1).Value(), "8"},
		{"a repetition has its own components", m.Segments[1].Field(3).Rep(2).Component(2).Value(), "X"},
		{"a repetition that is not there is empty", m.Segments[1].Field(3).Rep(3).Component(2).Value(), ""},
		{"a component that is not there is empty", m.Segments[1].Field(3).Rep(1).Component(9).Value(), ""},
		{"a subcomponent", m.Segments[1].Field(5).Component(1).Sub(2), "b"},
		{"the value is the first subcomponent", m.Segments[1].Field(5).Value(), "a"},
		{"the text is everything", m.Segments[1].Field(5).Text(), "a&b^c"},
		{"a segment counts those of its name", m.Segments[2].Path(), "OBX[2]"},
		{"a field is named with its segment", m.Segments[2].FieldPath(5), "OBX[2]-5"},
		{"a segment may have no fields", m.Segments[3].Field(1).Value(), ""},
		{"a segment is found by its name", m.First("OBX").Field(1).Value(), "1"},
		{"a segment that is not there is empty", m.First("PID").Field(3).Component(1).Sub(1), ""},
		{"and can be named", m.First("PID").FieldPath(3), "PID[0]-3"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"last field of MSH", m.Header().Fields(), 12},
		{"last field of OBX", m.Segments[1].Fields(), 7},
		{"last field of a bare segment", m.Segments[3].Fields(), 0},
		{"repetitions", m.Segments[1].Field(3).Reps(), 2},
		{"repetitions of an empty field", m.Segments[1].Field(6).Reps(), 0},
		{"components", m.Segments[1].Field(3).Rep(1).Components(), 3},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, c.got, c.want)
		}
	}
}

func TestNullIsNotAValue(t *testing.T) {
	m := parseOne(t, header+"\rPID|1|\"\"|A^\"\"^C|  |x\r")
	pid := m.Segments[1]
	if !pid.Field(2).IsNull() || !pid.Field(2).IsEmpty() || pid.Field(2).Value() != "" || pid.Field(2).Text() != "" {
		t.Error("a null field must be null, and empty when read")
	}
	if !pid.Field(3).Component(2).IsEmpty() || pid.Field(3).Component(2).Value() != "" {
		t.Error("a null component must read as empty")
	}
	if !pid.Field(4).IsEmpty() || pid.Field(4).IsNull() {
		t.Error("a blank field is empty and not null")
	}
	if pid.Field(5).IsEmpty() || pid.Field(9).IsNull() {
		t.Error("a value is not empty, and what is absent is not null")
	}
}

func TestEscapes(t *testing.T) {
	for _, c := range []struct{ what, text, want string }{
		{"delimiters", `a\F\b\S\c\T\d\R\e\E\f`, `a|b^c&d~e\f`},
		{"no escapes are left alone", "plain", "plain"},
		{"a line break", `a\.br\b`, "a\nb"},
		{"blank lines", `a\.sp2\b`, "a\n\nb"},
		{"too many blank lines are kept as written", `a\.sp99\b`, `a\.sp99\b`},
		{"hexadecimal bytes", `a\X0D0A\b`, "a\r\nb"},
		{"hexadecimal letters in the character set", `\XC3A9\`, "é"},
		{"hexadecimal bytes that are no letter are kept", `\XFF\`, `\XFF\`},
		{"odd hexadecimal digits are kept", `\X0D0\`, `\X0D0\`},
		{"highlighting has no text", `\H\LOW\N\`, "LOW"},
		{"a character set switch is kept", `\C2842\x\M248A\`, `\C2842\x\M248A\`},
		{"a sender's own sequence is kept", `\Z01\x`, `\Z01\x`},
		{"truncation means nothing before version 2.7", `\P\`, `\P\`},
		{"an escape that does not end is kept", `a\F`, `a\F`},
		{"a lone escape character is kept", `5 \ 6 \F\ 7`, `5 \ 6 | 7`},
		{"two escape characters are kept", `\\server\share`, `\\server\share`},
		{"an escape at the end", `x\E\`, `x\`},
	} {
		m := parseOne(t, header+"\rNTE|1||"+c.text+"\r")
		if got := m.Segments[1].Field(3).Text(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
	m := parseOne(t, "MSH|^~\\&#|A\rNTE|1||a\\P\\b#\r")
	if got := m.Segments[1].Field(3).Text(); got != "a#b#" {
		t.Errorf("truncation in version 2.7: got %q", got)
	}
}

func TestDelimitersAreTheMessagesOwn(t *testing.T) {
	m := parseOne(t, "MSH$%*!@$APP%X$W\rOBX$1$a%b@c*d$!F!!S!\r")
	if got := m.Segments[1].Field(2).Rep(1).Component(2).Sub(2); got != "c" {
		t.Errorf("subcomponent: got %q", got)
	}
	if got := m.Segments[1].Field(2).Rep(2).Component(1).Value(); got != "d" {
		t.Errorf("repetition: got %q", got)
	}
	if got := m.Segments[1].Field(3).Text(); got != "$%" {
		t.Errorf("escapes: got %q", got)
	}
	m = parseOne(t, "MSH|^|APP^X\rOBX|1|a&b~c\\F\\^d\r")
	if got := m.Segments[1].Field(2).Component(1).Value(); got != `a&b~c\F\` {
		t.Errorf("what is not declared does not divide: got %q", got)
	}
}

func TestLinesAndFrames(t *testing.T) {
	const obx, nte = "OBX|1|NM", "NTE|1"
	for _, c := range []struct{ what, text string }{
		{"CR", header + "\r" + obx + "\r" + nte + "\r"},
		{"LF", header + "\n" + obx + "\n" + nte + "\n"},
		{"CRLF", header + "\r\n" + obx + "\r\n" + nte + "\r\n"},
		{"no end of line at the end", header + "\r" + obx + "\r" + nte},
		{"blank lines", "\r\n" + header + "\r\r\n\n" + obx + "\r\r" + nte + "\r\r"},
		{"an MLLP frame", "\x0b" + header + "\r" + obx + "\r" + nte + "\r\x1c\r"},
		{"an MLLP frame without the last CR", "\x0b" + header + "\r" + obx + "\r" + nte + "\r\x1c"},
		{"an MLLP frame that ends in the last line", "\x0b" + header + "\r" + obx + "\r" + nte + "\x1c\r"},
		{"a batch", "FHS|^~\\&|A\rBHS|^~\\&|A\r" + header + "\r" + obx + "\r" + nte + "\rBTS|1\rFTS|1\r"},
		{"a byte order mark", "\xef\xbb\xbf" + header + "\r" + obx + "\r" + nte + "\r"},
	} {
		m := parseOne(t, c.text)
		if len(m.Segments) != 3 || m.Segments[1].Raw() != obx || m.Segments[2].Raw() != nte {
			t.Errorf("%s: got %d segments", c.what, len(m.Segments))
		}
	}
}

func TestSeveralMessages(t *testing.T) {
	one := header + "\rOBX|1\rOBX|2\r"
	for _, c := range []struct{ what, text string }{
		{"one after the other", one + one + one},
		{"in frames", "\x0b" + one + "\x1c\r\x0b" + one + "\x1c\r\x0b" + one + "\x1c\r"},
		{"in frames without CR between them", "\x0b" + one + "\x1c\x0b" + one + "\x1c\x0b" + one + "\x1c"},
		{"in a batch", "BHS|^~\\&|A\r" + one + "BTS|1\rBHS|^~\\&|A\r" + one + one + "BTS|2\r"},
	} {
		messages, err := Parse([]byte(c.text))
		if err != nil || len(messages) != 3 {
			t.Errorf("%s: got %d messages, %v", c.what, len(messages), err)
			continue
		}
		for i, m := range messages {
			if m.Number != i+1 || len(m.Segments) != 3 {
				t.Errorf("%s: message %d is number %d of %d segments", c.what, i+1, m.Number, len(m.Segments))
			}
		}
		if got := messages[1].Segments[2].FieldPath(5); got != "message 2: OBX[2]-5" {
			t.Errorf("%s: path %q", c.what, got)
		}
	}
	messages, err := Parse([]byte("MSH|^~\\&|A\rNTE|a^b\rMSH$*~\\&$B\rNTE$a*b^c\r"))
	if err != nil || messages[1].Segments[1].Field(1).Component(2).Value() != "b^c" {
		t.Errorf("each message has its own delimiters: %v", err)
	}
}

func TestCharacterSets(t *testing.T) {
	text := func(declared, name string) string {
		return `MSH|^~\&|A|||||||||2.6|||||` + "|" + declared + "\rPID|1||" + name + "\r"
	}
	utf16 := func(endian unicode.Endianness, policy unicode.BOMPolicy, s string) string {
		wide, err := unicode.UTF16(endian, policy).NewEncoder().String(s)
		if err != nil {
			t.Fatal(err)
		}
		return wide
	}
	for _, c := range []struct {
		what, text, want, charset string
		guessed                   bool
	}{
		{"UTF-8 as declared", text("UNICODE UTF-8", "Zoë"), "Zoë", "UNICODE UTF-8", false},
		{"UTF-8 by its short name", text("utf-8", "Zoë"), "Zoë", "UNICODE UTF-8", false},
		{"nothing declared, UTF-8", text("", "Zoë"), "Zoë", "UNICODE UTF-8", false},
		{"nothing declared, not UTF-8", text("", "Zo\xeb"), "Zoë", "8859/1", true},
		{"bare UNICODE, UTF-8", text("UNICODE", "Zoë"), "Zoë", "UNICODE UTF-8", false},
		{"bare UNICODE, not UTF-8", text("UNICODE", "Zo\xeb"), "Zoë", "8859/1", true},
		{"ASCII", text("ASCII", "Zoe"), "Zoe", "ASCII", false},
		{"more than ASCII under ASCII", text("ASCII", "Zo\xeb"), "Zoë", "8859/1", true},
		{"8859/1", text("8859/1", "Zo\xeb"), "Zoë", "8859/1", false},
		{"8859/2", text("8859/2", "\xa3\xf3d\xbc"), "Łódź", "8859/2", false},
		{"8859/15", text("8859/15", "\xa4"), "€", "8859/15", false},
		{"8859/5 written as ISO", text("ISO 8859-5", "\xb6"), "Ж", "8859/5", false},
		{"the first of several sets", text("8859/1~ISO IR87", "Zo\xeb"), "Zoë", "8859/1", false},
		{"a byte in hexadecimal is in the set too", text("8859/15", `\XA4\`), "€", "8859/15", false},
		{"UTF-16 little endian with a mark", utf16(unicode.LittleEndian, unicode.UseBOM, text("UNICODE UTF-16", "Zoë")), "Zoë", "UNICODE UTF-16", false},
		{"UTF-16 big endian with a mark", utf16(unicode.BigEndian, unicode.UseBOM, text("", "Zoë")), "Zoë", "UNICODE UTF-16", false},
		{"UTF-16 without a mark", utf16(unicode.LittleEndian, unicode.IgnoreBOM, text("", "Zoë")), "Zoë", "UNICODE UTF-16", false},
	} {
		m := parseOne(t, c.text)
		if got := m.Segments[1].Field(3).Value(); got != c.want || m.Charset != c.charset || m.Guessed != c.guessed {
			t.Errorf("%s: got %q in %s, guessed %v; want %q in %s, %v", c.what, got, m.Charset, m.Guessed, c.want, c.charset, c.guessed)
		}
	}
}

func TestPayloadsThatAreRefused(t *testing.T) {
	long := strings.Repeat("x", MaxSegmentBytes)
	for _, c := range []struct{ what, text, want string }{
		{"nothing", "", "hl7v2: byte 0: there is no message: no line begins with MSH; fix: send HL7 version 2 in its encoding with delimiters, not XML or FHIR"},
		{"JSON", "{}", "byte 0: there is no message"},
		{"garbage before the message", "hello\r" + header, "byte 0: there is text before the first message"},
		{"garbage after the message", header + "\rOBX|1\rgarbage", "segment 3: the line is no segment"},
		{"garbage after the frame", "\x0b" + header + "\r\x1c\rOBX|1\r", "segment 2: there is text after the end of the message"},
		{"garbage right after the end of the frame", "\x0b" + header + "\r\x1cOBX|1\r", "segment 2: there is text after the end of the message"},
		{"a segment after the batch", header + "\rBTS|1\rOBX|1\r", "segment 2: there is text after the end of the message"},
		{"a line break inside a field", header + "\rNTE|1||first\rsecond|\r", "segment 3: the line is no segment"},
		{"a second message that is broken", header + "\r" + header + "\r123|x", "message 2: segment 2: the line is no segment"},
		{"a name in small letters", header + "\robx|1\r", "segment 2"},
		{"a name that is too long", header + "\rOBXX|1\r", "segment 2"},
		{"no field separator", "MSH\r", "MSH-1: the message has no field separator"},
		{"a letter as separator", "MSHA^~\\&A\r", "MSH-1"},
		{"a quotation mark as separator, which null needs", "MSH\"^~\\&\"A\r", "MSH-1"},
		{"no encoding characters", "MSH||APP\r", "MSH-2: there are not one to five"},
		{"too many encoding characters", "MSH|^~\\&#!|APP\r", "MSH-2: there are not one to five"},
		{"equal encoding characters", "MSH|^^\\&|APP\r", "MSH-2: the encoding characters are not punctuation"},
		{"letters as encoding characters", "MSH|abc|APP\r", "MSH-2: the encoding characters are not punctuation"},
		{"a character set nobody knows", "MSH|^~\\&|A|||||||||2.6||||||ISO IR87\r", "MSH-18: the character set is not one"},
		{"8859/12, which does not exist", "MSH|^~\\&|A|||||||||2.6||||||8859/12\r", "MSH-18: the character set is not one"},
		{"not the UTF-8 that is declared", "MSH|^~\\&|A|||||||||2.6||||||UNICODE UTF-8\rPID|1||\xff\r", "MSH-18: the message is not in the character set"},
		{"an undefined letter of 8859/3", "MSH|^~\\&|A|||||||||2.6||||||8859/3\rPID|1||\xa5\r", "MSH-18: the message is not in the character set"},
		{"half a letter in UTF-16", "\xff\xfeM\x00S\x00H", "byte 0: the payload begins as UTF-16"},
		{"a segment that is too long", header + "\rNTE|" + long, "segment 2: the segment is larger than 2 MiB"},
		{"too many fields", header + "\rNTE" + strings.Repeat("|", MaxFields), "segment 2: the segment has more than 512 fields"},
		{"too many segments", header + strings.Repeat("\rOBX", MaxSegments), "the message has more than 20000 segments"},
		{"too many messages", strings.Repeat("MSH|^~\\&|A\r", MaxMessages+1), "the payload has more than 1000 messages"},
		{"too many bytes", header + strings.Repeat("\r", MaxBytes), "the payload is larger than 32 MiB"},
	} {
		_, err := Parse([]byte(c.text))
		e := (*Error)(nil)
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.what, err, c.want)
		}
	}
}

// What is written with this package's rules of escaping must be read back unchanged.
func TestEveryTextSurvivesEscaping(t *testing.T) {
	escape := strings.NewReplacer("|", `\F\`, "^", `\S\`, "&", `\T\`, "~", `\R\`, `\`, `\E\`, "\r", `\X0D\`, "\n", `\X0A\`, "\x0b", `\X0B\`, "\x1c", `\X1C\`)
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.SliceOfN(rapid.String(), 1, 6).Draw(rt, "components")
		var written []string
		for _, w := range want {
			written = append(written, escape.Replace(w))
		}
		messages, err := Parse([]byte(header + "\rNTE|1||x~" + strings.Join(written, "^") + "\r"))
		if err != nil {
			rt.Fatal(err)
		}
		got := messages[0].Segments[1].Field(3).Rep(2)
		for i, w := range want {
			if w == null {
				continue
			}
			if g := got.Component(i + 1).Value(); g != w {
				rt.Errorf("component %d: got %q, want %q", i+1, g, w)
			}
		}
		for n, c := range got.All() {
			if n > len(want) || c.Raw() != written[n-1] {
				rt.Errorf("All gives %q as component %d", c.Raw(), n)
			}
		}
	})
}

func TestRealMessagesParse(t *testing.T) {
	dir := filepath.Join(fhirtest.Shared(t), "samples")
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(body), "MSH|") {
			return nil
		}
		count++
		messages, err := Parse(body)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		if s := messages[0].Segments; len(s) < 2 || s[0].Field(3).Reps() > 1 || s[len(s)-1].Name == "" {
			t.Errorf("%s has %d segments", path, len(s))
		}
		return nil
	})
	if err != nil || count == 0 {
		t.Fatalf("%d files, %v", count, err)
	}
	t.Logf("%d files", count)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(header + "\rOBX|1|NM|8^HR^MDC~9|1.2|a&b^c\\F\\\\X0D\\|\r"))
	f.Add([]byte("\x0bMSH|^~\\&#|A\r\x1c\r\x0bMSH$*~\\&$B$\xff\r\x1c\r"))
	f.Add([]byte("\xff\xfeM\x00S\x00H\x00|\x00^\x00"))
	f.Add([]byte("FHS|^~\\&\r\rMSH|^|||||||||||||||||8859/1\nPID|\xe9\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		messages, err := Parse(body)
		if err != nil {
			e := (*Error)(nil)
			if !errors.As(err, &e) || e.Reason == "" {
				t.Fatalf("an error without a reason: %#v", err)
			}
			return
		}
		for _, m := range messages {
			if m.Header().Name != "MSH" {
				t.Fatal("a message does not begin with MSH")
			}
			for _, s := range m.Segments {
				for n := 0; n <= s.Fields()+1; n++ {
					field := s.Field(n)
					_ = field.Text()
					for i, r := range field.All() {
						if field.Rep(i).Raw() != r.Raw() {
							t.Fatalf("repetition %d is not the one of All", i)
						}
						for j, c := range r.All() {
							if r.Component(j).Raw() != c.Raw() {
								t.Fatalf("component %d is not the one of All", j)
							}
							_ = c.Sub(1)
						}
					}
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	text.WriteString(header + "\rPID|||4711^^^HOSP^MR\rPV1||I|ICU^1^2\rOBR|1|||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||20260301120000+0100\r")
	for i := range 60 {
		text.WriteString("OBX|" + strconv.Itoa(i+1) + "|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.2.1.1|80|264864^MDC_DIM_BEAT_PER_MIN^MDC|50-120||||R|||20260301120000+0100||||080019FFFE0B4020^B1X5_GE\r")
	}
	body := []byte(text.String())
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		messages, err := Parse(body)
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range messages[0].Segments {
			_ = s.Field(3).Component(1).Value()
			_ = s.Field(5).Text()
			_ = s.Field(6).Component(1).Value()
		}
	}
}
