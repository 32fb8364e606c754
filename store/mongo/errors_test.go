package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

func TestAnErrorOfMongoDBIsToldWithoutItsText(t *testing.T) {
	const secret = `E11000 duplicate key error dup key: { _id: "Müller" }`
	command := func(code int32, name string) error {
		return fmt.Errorf("around: %w", driver.CommandError{Code: code, Name: name, Message: secret})
	}
	for name, test := range map[string]struct {
		err         error
		want        string
		unavailable bool
	}{
		"no rights":                   {command(13, "Unauthorized"), "user may not", false},
		"a wrong password":            {command(18, "AuthenticationFailed"), "password", false},
		"no primary":                  {command(10107, "NotWritablePrimary"), "takes no writes", true},
		"a full disk":                 {command(14031, "OutOfDiskSpace"), "disk of MongoDB is full", true},
		"too slow":                    {command(50, "MaxTimeMSExpired"), "too long", true},
		"what nobody knows":           {command(4711, "Secret"), "could not do it (Secret, code 4711)", false},
		"a duplicate key":             {driver.WriteException{WriteErrors: driver.WriteErrors{{Code: 11000, Message: secret}}}, "there already", false},
		"many duplicate keys":         {driver.BulkWriteException{WriteErrors: []driver.BulkWriteError{{WriteError: driver.WriteError{Code: 11000, Message: secret}}}}, "there already", false},
		"a write not replicated":      {driver.WriteException{WriteConcernError: &driver.WriteConcernError{Code: 64, Message: secret}}, "majority", true},
		"a bulk write not replicated": {driver.BulkWriteException{WriteConcernError: &driver.WriteConcernError{Code: 64, Message: secret}}, "majority", true},
		"a document too large":        {driver.WriteException{WriteErrors: driver.WriteErrors{{Code: 10334, Message: secret}}}, "larger than MongoDB takes", false},
		"a replacement too large":     {driver.WriteException{WriteErrors: driver.WriteErrors{{Code: 17419, Message: secret}}}, "larger than MongoDB takes", false},
		"a lost connection":           {driver.CommandError{Labels: []string{"NetworkError"}, Message: secret}, "was lost", true},
	} {
		got := told(t.Context(), test.err)
		f, ok := errors.AsType[*Fault](got)
		if !ok || strings.Contains(got.Error(), "Müller") || !strings.Contains(got.Error(), test.want) || f.Unavailable != test.unavailable {
			t.Errorf("%s: got %#v", name, got)
		}
		if errors.Is(got, store.ErrUnavailable) != test.unavailable {
			t.Errorf("%s: whether it may succeed later is not told to callers", name)
		}
		if strings.Contains(fmt.Sprintf("%+v", got), "Müller") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestOurErrorsStayAsTheyAre(t *testing.T) {
	for _, err := range []error{
		store.ErrNotFound, &store.ConflictError{}, &store.MatchedError{}, &store.GoneError{}, store.ErrClosed,
		fhir.Errorf(fhir.CodeTooCostly, "", "too much"), errDocument, errors.New("ours"),
	} {
		wrapped := fmt.Errorf("read: %w", err)
		if got := told(t.Context(), wrapped); got != wrapped {
			t.Errorf("%v became %v", wrapped, got)
		}
	}
	if told(t.Context(), nil) != nil {
		t.Error("no error became one")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := told(ctx, driver.CommandError{Message: "Müller"}); !errors.Is(got, context.Canceled) {
		t.Errorf("got %v of a call that was cancelled", got)
	}
}
