package mongo

import (
	"strings"
	"testing"
)

func TestAURIIsShownWithoutItsSecrets(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://localhost":                                       "mongodb://localhost/kiln",
		"mongodb://localhost:27018/":                                "mongodb://localhost:27018/kiln",
		"mongodb://a:1,b:2/x?replicaSet=rs0":                        "mongodb://a:1,b:2/x",
		"mongodb://me:S3cret@a/x?authSource=admin":                  "mongodb://***@a/x",
		"mongodb://me@a/x":                                          "mongodb://***@a/x",
		"mongodb+srv://me:S3cret@cluster.example":                   "mongodb+srv://***@cluster.example/kiln",
		"mongodb://me:S3@S3cret@a/x":                                "mongodb://***@a/x",
		"mongodb://a/x?authMechanismProperties=SERVICE_NAME:S3cret": "mongodb://a/x",
		"mongodb://[::1]:27017/x":                                   "mongodb://[::1]:27017/x",
		"mongodb://me:S3cret@a/x/y":                                 "mongodb:",
		"mongodb://me:S3cret@/x":                                    "mongodb:",
		"postgres://me:S3cret@a/x":                                  "mongodb:",
		"S3cret":                                                    "mongodb:",
		"":                                                          "mongodb:",
	} {
		if got := Redact(uri); got != want {
			t.Errorf("%q is shown as %q, want %q", uri, got, want)
		}
	}
}

func TestAnErrorOfAURIRepeatsNothingOfIt(t *testing.T) {
	for _, uri := range []string{
		"S3cret", "http://me:S3cret@a", "mongodb://", "mongodb://me:S3cret@", "mongodb://me:S3cret@a/b c", "mongodb://me:S3cret@a/x?tls=S3cret",
		"mongodb://me:S3/cret@a/x", "mongodb://me:%ZZS3cret@a/x", "mongodb://me:S3cret@a:port/x", "mongodb://me:S3cret@a/x?w=S3cret&journal=S3cret",
		"mongodb://me:S3cret@a/x?replicaSet=rs&directConnection=true&loadBalanced=true&S3cret",
	} {
		err := CheckURI(uri)
		if err == nil {
			t.Errorf("%q is accepted", uri)
			continue
		}
		_, opened := Open(t.Context(), uri, nil)
		for _, err := range []error{err, opened} {
			if err == nil || strings.Contains(err.Error(), "S3") || strings.Contains(err.Error(), "me:") {
				t.Errorf("%q gives the error %v", uri, err)
			}
		}
	}
	for _, uri := range []string{"mongodb://a", "mongodb://me:S3cret@a,b/x?replicaSet=rs0&w=majority&readPreference=secondaryPreferred&tls=true&compressors=zstd", "mongodb+srv://cluster.example/x"} {
		if err := CheckURI(uri); err != nil {
			t.Errorf("%q is refused: %v", uri, err)
		}
	}
}

func TestWhatTheURIDoesNotSayIsSafe(t *testing.T) {
	o, err := clientOptions("mongodb://a/x")
	if err != nil {
		t.Fatal(err)
	}
	if o.WriteConcern == nil || o.WriteConcern.W != "majority" || o.WriteConcern.Journal == nil || !*o.WriteConcern.Journal {
		t.Errorf("the write concern is %+v", o.WriteConcern)
	}
	if o.ServerSelectionTimeout == nil || *o.ServerSelectionTimeout != selectionTimeout {
		t.Errorf("a server is looked for for %v", o.ServerSelectionTimeout)
	}
	o, err = clientOptions("mongodb://a/x?w=1&serverSelectionTimeoutMS=70&appName=ward")
	if err != nil {
		t.Fatal(err)
	}
	if o.WriteConcern.W != 1 || *o.ServerSelectionTimeout != 70e6 || *o.AppName != "ward" {
		t.Errorf("what the URI says is not heeded: %+v %v %v", o.WriteConcern, o.ServerSelectionTimeout, o.AppName)
	}
}
