package control

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// What may kill a process is tried in another one: the test binary itself, told by its environment what to do.
const childEnv = "FRONTIER_CONTROL_CHILD"

func TestMain(m *testing.M) {
	if job, ok := childJobs[os.Getenv(childEnv)]; ok {
		job()
		return
	}
	os.Exit(m.Run())
}

var childJobs = map[string]func(){"open": childOpen, "commit": childCommit, "hold": childHold}

func child(t testing.TB, job string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...) //nolint:gosec // the test binary
	cmd.Env = append(os.Environ(), childEnv+"="+job)
	return cmd
}

// childOpen opens each directory and prints one line about it: contents and whether a loss was logged.
func childOpen() {
	for _, dir := range os.Args[1:] {
		core, logs := observer.New(zap.WarnLevel)
		fmt.Printf("OPENING %s\n", dir)
		s, err := Open(dir, zap.New(core))
		if err != nil {
			kind := "ERROR"
			if errors.Is(err, ErrDamaged) {
				kind = "DAMAGED"
			}
			fmt.Printf("%s %q\n", kind, err.Error())
			continue
		}
		entries, err := s.List("")
		if err == nil {
			// It must also go on working.
			_, err = s.Commit(Change{Key: "probe", Value: []byte("x"), Expect: Any}, Change{Key: "probe2", Expect: Any})
		}
		if err = errors.Join(err, s.Verify(), s.Close()); err != nil {
			fmt.Printf("ERROR %q\n", err.Error())
			continue
		}
		loud := "QUIET"
		for _, l := range logs.All() {
			if strings.HasPrefix(l.Message, "control store:") {
				loud = "SAID"
			}
		}
		for _, l := range logs.All() {
			if strings.Contains(l.Message, "LOST") {
				loud = "LOST"
			}
		}
		fmt.Printf("OK %s %q\n", loud, contents(entries))
	}
	fmt.Println("END")
}

// childCommit commits for ever and prints each acknowledged number.
func childCommit() {
	log, err := zap.NewDevelopment(zap.IncreaseLevel(zap.ErrorLevel), zap.AddStacktrace(zap.FatalLevel))
	if err != nil {
		panic(err)
	}
	s, err := Open(os.Args[1], log, func(o *options) { o.debounce = 5 * time.Millisecond })
	if err != nil {
		fmt.Println("ERROR", err)
		return
	}
	fmt.Println("READY")
	n := 0
	if e, err := s.Get("n"); err == nil {
		_, _ = fmt.Sscan(string(e.Value), &n)
	}
	pad := strings.Repeat("x", 9000)
	for {
		n++
		if _, err := s.Commit(set("n", fmt.Sprint(n)), set(fmt.Sprintf("k/%d", n%50), fmt.Sprint(n)+pad)); err != nil {
			fmt.Println("ERROR", err)
			return
		}
		fmt.Println(n)
	}
}

func childHold() {
	s, err := Open(os.Args[1], nil)
	if err != nil {
		fmt.Println("ERROR", err)
		return
	}
	fmt.Println("READY")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	_ = s.Close()
}
