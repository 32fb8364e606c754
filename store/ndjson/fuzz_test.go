package ndjson

import (
	"bufio"
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzLines reads bytes as files of resources and of the journal: what is taken for a
// line must be what would be written for it, and nothing may crash.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Patient","id":"b","meta":{"versionId":"1","lastUpdated":"2026-05-01T12:00:02.468Z"},"active":true}` + "\n"))
	f.Add([]byte(`{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"DELETE","url":"Device/d"},"response":{"status":"204","etag":"W/\"2\"","lastModified":"2026-05-01T12:00:08.638Z"}}]}` + "\n\n"))
	f.Add([]byte(`{"id":"entry-0001 \u003c","entry":"AAoB/w=="}` + "\n{"))
	f.Fuzz(func(t *testing.T, content []byte) {
		l := lines{r: bufio.NewReaderSize(bytes.NewReader(content), 16), limit: 4096}
		for {
			line, err := l.next()
			if err != nil {
				return
			}
			if len(line) >= l.limit || bytes.IndexByte(line, '\n') >= 0 {
				t.Fatalf("a line of %d bytes", len(line))
			}
			if v, err := parseVersion(line); err == nil {
				again, err := appendVersion(nil, v)
				if err != nil || !bytes.Equal(again, line) {
					t.Fatalf("%q is written %q: %v", line, again, err)
				}
			}
			if id, entry, err := parseEntry(line); err == nil {
				again, err := appendEntry(nil, id, entry)
				if err != nil || !bytes.Equal(again, line) {
					t.Fatalf("%q is written %q: %v", line, again, err)
				}
			}
		}
	})
}

// FuzzManifest reads bytes as a manifest: every file that it is taken to name is in the
// directory of the export.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"compression":"zstd","files":[{"name":"Device.ndjson.zst","type":"Device","lines":1,"resources":1,"versions":1,"deletions":0,"uncompressedBytes":9,"bytes":9,"sha256":""}]}`))
	f.Add([]byte(`{"format":1,"compression":"none","files":[{"name":"journal-inbox.ndjson","shelf":"inbox"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		var m Manifest
		if json.Unmarshal(content, &m) != nil || m.check() != nil {
			return
		}
		for _, file := range m.Files {
			if !isFileName(file.Name) {
				t.Fatalf("a file %q", file.Name)
			}
		}
	})
}
