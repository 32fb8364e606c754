package mongotest_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/mongo/mongotest"
	"github.com/kiln-health/kiln/store/storetest"
)

// TestAnotherMongoDBIsAStore runs the suite on mongo-java-server, an implementation of the protocol
// and of the query language that has nothing to do with ours: in memory, without transactions.
// KILN_MONGO_JAVA_CLASSPATH says where its jars are; testdata/java/pom.xml tells Maven to get them.
func TestAnotherMongoDBIsAStore(t *testing.T) {
	classpath := os.Getenv("KILN_MONGO_JAVA_CLASSPATH")
	if classpath == "" {
		t.Skip("KILN_MONGO_JAVA_CLASSPATH names no jars of mongo-java-server")
	}
	java := exec.Command("java", "-cp", classpath, filepath.Join("testdata", "java", "Main.java"))
	java.Stderr = os.Stderr
	out, err := java.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := java.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := java.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		ended := time.AfterFunc(10*time.Second, func() { _ = java.Process.Kill() })
		defer ended.Stop()
		_ = java.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("mongo-java-server does not start: %v", err)
	}
	uri := "mongodb://127.0.0.1:" + strings.TrimSpace(port) + "/"
	storetest.Run(t, func(t *testing.T) store.Store {
		s := openStore(t, uri+mongotest.Database()+"?directConnection=true")
		return withoutWatch{s, s, s, s, s, s}
	})
}
