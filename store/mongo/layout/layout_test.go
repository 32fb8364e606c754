package layout

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
	"github.com/kiln-health/kiln/fhir/search"
)

var changed = time.Date(2024, 5, 1, 10, 0, 5, 250e6, time.UTC)

// extracted are the terms of a resource, and its key.
func extracted(t testing.TB, text []byte) (fhir.Key, *search.Terms) {
	t.Helper()
	var head struct{ ResourceType, ID string }
	if err := json.Unmarshal(text, &head); err != nil {
		t.Fatal(err)
	}
	terms, err := search.R4().Extract(head.ResourceType, text)
	if err != nil {
		t.Fatal(err)
	}
	return fhir.Key{Type: head.ResourceType, ID: head.ID, Version: "3"}, &terms
}

func documentOf(t testing.TB, text []byte) bson.Raw {
	t.Helper()
	key, terms := extracted(t, text)
	doc, err := New(nil).Document(nil, key, changed, text, terms)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(); err != nil {
		t.Fatalf("the document is no BSON: %v", err)
	}
	return doc
}

func compacted(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// extended is BSON as canonical extended JSON, in lines.
func extended(t testing.TB, value any) []byte {
	t.Helper()
	text, err := bson.MarshalExtJSON(value, true, false)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

func TestDocumentsAreAsTheGoldenFilesHaveThem(t *testing.T) {
	files, err := filepath.Glob("testdata/*.fhir.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no resources: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text = compacted(t, text)
			doc := documentOf(t, text)
			t.Logf("%d bytes of JSON, %d of BSON: %.2f", len(text), len(doc), float64(len(doc))/float64(len(text)))
			fhirtest.Golden(t, strings.TrimSuffix(file, ".fhir.json")+".document.json", extended(t, doc))
		})
	}
}
