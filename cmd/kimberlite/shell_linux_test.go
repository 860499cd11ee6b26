package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// console is a pseudo-terminal with the command at its other end.
type console struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd

	mu   sync.Mutex // guards all below
	seen strings.Builder
	more *sync.Cond
	at   int // where the next expectation starts
	eof  bool
}

// openTerminal opens both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	return master, slave
}

func newConsole(p *place, args ...string) *console {
	p.t.Helper()
	master, slave := openTerminal(p.t)
	c := &console{t: p.t, master: master, cmd: p.command(binary, args...)}
	c.more = sync.NewCond(&c.mu)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = slave, slave, slave
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	slave.Close()
	go c.listen()
	return c
}

func (c *console) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := c.master.Read(buf)
		c.mu.Lock()
		c.seen.Write(buf[:n])
		c.eof = err != nil
		c.more.Broadcast()
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send types.
func (c *console) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.master, text); err != nil {
		c.t.Fatal(err)
	}
}

// expect waits until a text shows, after what was expected before.
func (c *console) expect(text string) {
	c.t.Helper()
	timer := time.AfterFunc(30*time.Second, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.eof = true
		c.more.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if i := strings.Index(c.seen.String()[c.at:], text); i >= 0 {
			c.at += i + len(text)
			return
		}
		if c.eof {
			c.t.Fatalf("%q does not show in\n%q", text, c.seen.String()[c.at:])
		}
		c.more.Wait()
	}
}

func TestShellRunsStatementsKeepsHistoryAndObeysCtrlC(t *testing.T) {
	t.Parallel()
	p := prepared(t)
	c := newConsole(p, "sql", "--data", "D", "--tenant", "1")
	c.expect("hospital-a=> ")
	c.send("SELECT 40 +\r")
	c.expect("hospital-a-> ")
	c.send("2 AS answer;\r")
	c.expect("answer\r\n--------\r\n     42\r\n(1 row)")
	c.expect("hospital-a=> ")
	c.send("\x1b[A\x1b[A\r\x1b[A\x1b[A\r") // both lines again, by the up arrow
	c.expect("(1 row)")
	c.expect("hospital-a=> ")
	c.send("SELEC;\r")
	c.expect("kimberlite: sql: near")
	c.expect("hospital-a=> ")
	c.send("SELECT 'never run\x03") // Ctrl-C drops what was typed
	c.expect("hospital-a=> ")
	c.send("BEGIN;\r")
	c.expect("hospital-a=*> ")
	c.send("INSERT INTO t VALUES (2);\r")
	c.expect("ok, 1 row changed")
	c.expect("hospital-a=*> ")
	c.send("ROLLBACK; SELECT count(*) AS n FROM t;\r")
	c.expect("ROLLBACK")
	c.expect("\r\n 1\r\n")
	c.expect("hospital-a=> ")
	c.send("\\dt\r")
	c.expect("t     table")
	c.expect("hospital-a=> ")
	c.interruptsStatement()
	c.send("\\q\r")
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the shell ended with %v", err)
	}
	p.works()
}

// interruptsStatement shows that Ctrl-C ends what runs and not the shell.
func (c *console) interruptsStatement() {
	c.t.Helper()
	c.send("SELECT 'now', count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n);\r")
	c.expect("FROM n);\r\n")
	deadline := time.Now().Add(30 * time.Second)
	// The key may come before the statement runs: it is pressed until it acts.
	for time.Now().Before(deadline) {
		c.send("\x03")
		c.mu.Lock()
		done := strings.Contains(c.seen.String()[c.at:], "canceled")
		c.mu.Unlock()
		if done {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.expect("canceled")
	c.expect("hospital-a=> ")
	c.send("SELECT 'still' || ' here' AS x;\r")
	c.expect("still here")
	c.expect("hospital-a=> ")
}

func TestShellEndsWithCtrlDAndSaysThatATransactionWasLeftOpen(t *testing.T) {
	t.Parallel()
	p := prepared(t)
	c := newConsole(p, "sql", "--data", "D", "--tenant", "1")
	c.expect("hospital-a=> ")
	c.send("BEGIN; DELETE FROM t;\r")
	c.expect("ok, 1 row changed")
	c.expect("hospital-a=*> ")
	c.send("\x04")
	c.expect("the transaction was not committed: it was rolled back")
	_ = c.cmd.Wait() // it fails: the status says how
	if got := c.cmd.ProcessState.ExitCode(); got != 1 {
		t.Errorf("exit %d", got)
	}
	p.works()
}
