package mongo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

// A Fault is why MongoDB did not do what it was asked, in words for who runs it. Its text
// has the name and number of MongoDB's error and never its message: that may repeat keys and
// values, which are of patients, or the credentials of the connection.
type Fault struct {
	// What went wrong, and Fix, what to do about it.
	What, Fix string
	// Code and Name are MongoDB's, 0 and "" if it is none of its errors.
	Code int
	Name string
	// Unavailable: nothing is wrong with the request, and the same one may succeed later.
	Unavailable bool
}

func (f *Fault) Error() string {
	text := f.What
	if f.Code != 0 {
		text += fmt.Sprintf(" (%s, code %d)", f.Name, f.Code)
	}
	if f.Fix != "" {
		text += "\n  = fix: " + f.Fix
	}
	return text
}

// Is makes a Fault that is Unavailable a store.ErrUnavailable.
func (f *Fault) Is(target error) bool { return f.Unavailable && target == store.ErrUnavailable }

// Codes of MongoDB's errors.
// https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
const (
	codeBadValue             = 2
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeIllegalOperation     = 20
	codeNamespaceNotFound    = 26
	codeIndexNotFound        = 27
	codeMaxTimeExpired       = 50
	codeCommandNotFound      = 59
	codeWriteConflict        = 112
	codeDocumentValidation   = 121
	codeParallelArrays       = 171
	codeSnapshotTooOld       = 239
	codeSnapshotUnavailable  = 246
	codeChangeStreamHistory  = 286
	codeChangeStreamFatal    = 280
	codeNotPrimary           = 10107
	codeNotPrimaryNoOK       = 13435
	codeTooLarge             = 10334
	codeDuplicateKey         = 11000
	codeOutOfDisk            = 14031
	codeAtlas                = 8000
)

// told is an error of the driver as a Fault. All other errors are as they were. If ctx has
// ended that is the error, whatever came of it.
func told(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if isOurs(err) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if f := faultOf(err); f != nil {
		return f
	}
	return err
}

// isOurs are errors whose text is known, and that callers branch on.
func isOurs(err error) bool {
	if _, ok := errors.AsType[*Fault](err); ok {
		return true
	}
	if _, ok := errors.AsType[*fhir.Error](err); ok {
		return true
	}
	for _, known := range []error{store.ErrNotFound, store.ErrGone, store.ErrConflict, store.ErrMatched, store.ErrClosed, store.ErrMissed} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// faultOf is nil for what is not of the driver.
func faultOf(err error) *Fault {
	if code, name, ok := codeOf(err); ok {
		return faultOfCode(code, name)
	}
	text := err.Error()
	switch {
	case errors.Is(err, driver.ErrClientDisconnected):
		return &Fault{What: "the connection to MongoDB is closed"}
	case strings.Contains(text, "requires at least") && strings.Contains(text, "wire version"):
		return tooOld()
	case strings.Contains(text, "auth error") || strings.Contains(text, "unable to authenticate"):
		return faultOfCode(codeAuthenticationFailed, "AuthenticationFailed")
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls:"):
		return &Fault{What: "MongoDB cannot be reached: the TLS connection was refused or the certificate is not trusted",
			Fix: "check tls, tlsCAFile and tlsCertificateKeyFile in the URI, and that its host names are those of the certificate"}
	case strings.Contains(text, "server selection error"), strings.Contains(text, "no reachable servers"):
		return &Fault{What: "MongoDB cannot be reached", Unavailable: true,
			Fix: "check that it runs, that the hosts and the replica set name in the URI are right, and that the network lets it through"}
	case driver.IsNetworkError(err), errors.Is(err, io.EOF), strings.Contains(text, "connection("):
		return &Fault{What: "the connection to MongoDB was lost", Unavailable: true, Fix: "try again; a write may have been done all the same"}
	case driver.IsTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return &Fault{What: "MongoDB did not answer in time", Unavailable: true, Fix: "look at its load and its log; timeouts are in the URI (timeoutMS, serverSelectionTimeoutMS)"}
	case errors.Is(err, driver.ErrNoDocuments):
		return &Fault{What: "a document is not there that should be"}
	}
	if isDriver(err) {
		return &Fault{What: "MongoDB could not do it"}
	}
	return nil
}

// isDriver reports whether an error is of the driver's types, whose text may hold anything.
func isDriver(err error) bool {
	if _, ok := errors.AsType[driver.ServerError](err); ok {
		return true
	}
	if _, ok := errors.AsType[driver.BulkWriteException](err); ok {
		return true
	}
	_, ok := errors.AsType[driver.MarshalError](err)
	return ok
}

// codeOf is the first code of an error of the server.
func codeOf(err error) (code int, name string, ok bool) {
	if e, ok := errors.AsType[driver.CommandError](err); ok && e.Code != 0 { // without a code it is of the network
		return int(e.Code), e.Name, true
	}
	if e, ok := errors.AsType[driver.WriteException](err); ok {
		if e.WriteConcernError != nil {
			return e.WriteConcernError.Code, e.WriteConcernError.Name, true
		}
		if len(e.WriteErrors) > 0 {
			return e.WriteErrors[0].Code, "", true
		}
	}
	if e, ok := errors.AsType[driver.BulkWriteException](err); ok {
		if e.WriteConcernError != nil {
			return e.WriteConcernError.Code, e.WriteConcernError.Name, true
		}
		if len(e.WriteErrors) > 0 {
			return e.WriteErrors[0].Code, "", true
		}
	}
	return 0, "", false
}

func faultOfCode(code int, name string) *Fault {
	f := &Fault{Code: code, Name: name}
	if f.Name == "" {
		f.Name = names[code]
	}
	if f.Name == "" {
		f.Name = "error"
	}
	switch code {
	case codeUnauthorized:
		f.What, f.Fix = "the MongoDB user may not do this", "give it the role readWrite on the database, or name its database with authSource in the URI"
	case codeAuthenticationFailed, codeAtlas:
		f.What, f.Fix = "MongoDB refused the user or the password", "check them, authSource and authMechanism in the URI"
	case codeNotPrimary, codeNotPrimaryNoOK, 189, 11600, 11602, 91, 10058:
		f.What, f.Unavailable = "MongoDB takes no writes: there is no primary, or the connection is to another member", true
		f.Fix = "name the whole replica set in the URI (replicaSet=…, without directConnection), and look at rs.status()"
	case codeOutOfDisk, 14037:
		f.What, f.Unavailable = "the disk of MongoDB is full: it takes no writes", true
		f.Fix = "free or add space on the data volume of the primary"
	case codeTooLarge, 17280, 17419, 17420:
		f.What = "a document is larger than MongoDB takes, 16 MiB"
	case codeDuplicateKey:
		f.What = "a document is there already"
	case codeMaxTimeExpired, 262:
		f.What, f.Unavailable = "MongoDB ended the operation because it took too long", true
		f.Fix = "search for less, or raise timeoutMS in the URI"
	case codeWriteConflict, 244, 251, 24:
		f.What, f.Unavailable, f.Fix = "other writers were at the same resources all the time", true, "try again"
	case 64, 100:
		f.What, f.Unavailable = "MongoDB could not make the write safe on a majority of its members in time", true
		f.Fix = "look at rs.status(): members are down or behind; the write may be there all the same"
	case codeCommandNotFound, codeIllegalOperation, 263, 40324, 40415, 72:
		f.What, f.Fix = "this MongoDB does not have what Kiln needs", "use MongoDB 4.4 or later, 5.0 or later if you can"
	default:
		f.What = "MongoDB could not do it"
	}
	return f
}

var names = map[int]string{
	codeDuplicateKey: "DuplicateKey", codeOutOfDisk: "OutOfDiskSpace", codeTooLarge: "BSONObjectTooLarge",
	codeNotPrimary: "NotWritablePrimary", codeWriteConflict: "WriteConflict", codeUnauthorized: "Unauthorized",
	codeAuthenticationFailed: "AuthenticationFailed", codeParallelArrays: "CannotIndexParallelArrays",
}

// minWireVersion is that of MongoDB 4.4.
const minWireVersion = 9

func tooOld() *Fault {
	return &Fault{What: "this MongoDB is too old", Fix: "use MongoDB 4.4 or later, 5.0 or later if you can"}
}

// hasCode reports whether an error of the server has a code, in any of its parts.
func hasCode(err error, code int) bool {
	e, ok := errors.AsType[driver.ServerError](err)
	return ok && e.HasErrorCode(code)
}

// hasLabel reports whether an error says what it means for who asked.
func hasLabel(err error, label string) bool {
	e, ok := errors.AsType[driver.LabeledError](err)
	return ok && e.HasErrorLabel(label)
}

// noServer reports whether a server of MongoDB was looked for in vain, for as long as that is done.
func noServer(err error) bool { return strings.Contains(err.Error(), "server selection error") }

func isDuplicate(err error) bool { return driver.IsDuplicateKeyError(err) }
