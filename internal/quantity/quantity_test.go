package quantity

import (
	"math"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
)

// wantInvalid checks that err is a short, clear refusal that mentions part.
func wantInvalid(t *testing.T, input string, err error, part string) {
	t.Helper()
	switch {
	case !fault.Is(err, fault.Invalid):
		t.Errorf("%q: %v, want an error of kind invalid", input, err)
	case !strings.Contains(err.Error(), part):
		t.Errorf("%q: the error %q does not say %q", input, err, part)
	case len(err.Error()) > 400:
		t.Errorf("the error repeats %d bytes of input", len(err.Error()))
	}
}

func TestParseSizeReadsWhatPeopleWrite(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]int64{
		"10GiB": 10 << 30, "1MiB": 1 << 20, "500kB": 500_000, "1024": 1024, "0": 0, "unlimited": 0, "Unlimited": 0,
		"1.5MiB": 3 << 19, "0.5KiB": 512, " 2 TiB ": 2 << 40, "7b": 7, "1 byte": 1, "3 bytes": 3, "1KB": 1000, "1kib": 1024,
		"1_000_000": 1e6, "8EB": 8e18, "7EiB": 7 << 60, "9223372036854775807": math.MaxInt64, "0.001kB": 1,
		"1.000000000000000000000KiB": 1024, "9.223372036854775807EB": math.MaxInt64, "00012": 12,
	} {
		if got, err := ParseSize(input); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", input, got, err, want)
		}
	}
}

func TestParseSizeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for input, part := range map[string]string{
		"": "not a size", "GiB": "not a size", "ten": "not a size", "-1": "negative", "-1GiB": "negative", "+1": "not a size",
		"10G": "10GiB", "10k": "KiB", "1.5": "whole number", "1.0001KiB": "whole number", "0.0000000000000000000001EiB": "whole number",
		"8EiB": "too large", "9223372036854775808": "too large", "99999999999999999999999999": "too large", "16EiB": "too large",
		"9.3EB": "too large", "1.": "no digit", "1.GiB": "no digit", "1GiBB": "unknown unit", "1,5MiB": "unknown unit", "1e3": "unknown unit",
		"0x10": "unknown unit", "1__0": "unknown unit", "1 GiB 2": "unknown unit", "1\x00": "unknown unit", "infinite": "unlimited",
		strings.Repeat("1", 5000) + "x": "unknown unit", strings.Repeat("x", 5000): "not a size",
	} {
		if input == "10G" {
			part = "GiB (1024-based)"
		}
		got, err := ParseSize(input)
		if err == nil {
			t.Errorf("ParseSize(%.40q) = %d, want an error", input, got)
			continue
		}
		wantInvalid(t, input, err, part)
	}
}

func TestFormatSizeIsExactAndShort(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]string{
		0: "0B", 1: "1B", 1000: "1000B", 1024: "1KiB", 1536: "1536B", 10 << 30: "10GiB", 1<<20 + 1024: "1025KiB",
		1 << 60: "1EiB", math.MaxInt64: "9223372036854775807B",
	} {
		if got := FormatSize(size); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", size, got, want)
		}
	}
}

func TestDisplaySizeIsForPeople(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 1_530_000: "1.46MiB", math.MaxInt64: "8EiB"} {
		if got := DisplaySize(size); got != want {
			t.Errorf("DisplaySize(%d) = %q, want %q", size, got, want)
		}
	}
}

func TestParseDurationReadsDaysAndWeeksToo(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]time.Duration{
		"2555d": 2555 * Day, "7w": 7 * Week, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "0": 0, "0d": 0, "+1w": Week,
		"1w1d1h1m1s": Week + Day + time.Hour + time.Minute + time.Second, "250ms": 250 * time.Millisecond, ".5d": 12 * time.Hour,
		"106751d": 106751 * Day, "1.d": Day, " 5m ": 5 * time.Minute, "1h1d": 25 * time.Hour, "0.00000000000000000001d": 0,
	} {
		if got, err := ParseDuration(input); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", input, got, err, want)
		}
	}
}

func TestParseDurationReadsAllThatPackageTimeReads(t *testing.T) {
	t.Parallel()
	for _, input := range []string{
		"0", "5s", "30s", "1478s", "+5s", "+0", "5.0s", "5.6s", "5.s", ".5s", "1.0s", "1.004s", "100.00100s", "10ns", "11us",
		"12µs", "12μs", "13ms", "14s", "15m", "16h", "3h30m", "10.5s4m", "1h2m3s4ms5us6ns", "39h9m14.425s", "52763797000ns",
		"0.3333333333333333333h", "9223372036854775807ns", "9223372036s", "0.100000000000000000000h", "0.830103483285477580700h",
	} {
		want, err := time.ParseDuration(input)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseDuration(input); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", input, got, err, want)
		}
	}
}

func TestParseDurationSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for input, part := range map[string]string{
		"": "not a duration", "   ": "not a duration", "d": "not a duration", "ten days": "not a duration", "-5d": "negative", "-1h": "negative",
		"2555": "lacks a unit", "1h30": "lacks a unit", "7y": "years", "2years": "years", "106752d": "too long", "20000w": "too long",
		"106751d24h": "too long", "9223372036854775808ns": "too long", "99999999999999999999h": "too long", "99999999999999999999d": "too long",
		"1.2.3d": "not a duration", ".d": "not a duration", "1D": "not a duration", "1 d": "not a duration", "1d ": "", "1d,": "not a duration",
		"1_0d": "not a duration", "1d-1h": "not a duration", "1\x00d": "not a duration", "\xff": "not a duration", "++1d": "not a duration",
		"1.2.3h": "not a duration", strings.Repeat("9", 5000): "lacks a unit", strings.Repeat("x", 5000): "not a duration",
	} {
		got, err := ParseDuration(input)
		if part == "" {
			if err != nil {
				t.Errorf("ParseDuration(%q): %v", input, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("ParseDuration(%.40q) = %v, want an error", input, got)
			continue
		}
		wantInvalid(t, input, err, part)
	}
}

func TestFormatDurationPrintsWholeDays(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 2555 * Day: "2555d", 36 * time.Hour: "1d12h", time.Hour: "1h", 90 * time.Minute: "1h30m", time.Second: "1s",
		Day + time.Second: "1d1s", 1500 * time.Millisecond: "1.5s", 1: "1ns", math.MaxInt64: "106751d23h47m16.854775807s",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestParseCountReadsWholeNumbers(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]int64{"0": 0, "1000": 1000, "1_000": 1000, " 7 ": 7, "UNLIMITED": 0, "9223372036854775807": math.MaxInt64} {
		if got, err := ParseCount(input); err != nil || got != want {
			t.Errorf("ParseCount(%q) = %d, %v, want %d", input, got, err, want)
		}
	}
	for input, part := range map[string]string{
		"": "not a number", "-1": "negative", "1.5": "not a number", "1k": "not a number", "_1": "not a number", "1_": "not a number",
		"9223372036854775808": "too large", "1 2": "not a number", "٣": "not a number",
	} {
		_, err := ParseCount(input)
		if err == nil {
			t.Errorf("ParseCount(%q): no error", input)
			continue
		}
		wantInvalid(t, input, err, part)
	}
}

func TestFormattingANegativeIsABugOfTheCaller(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(){
		"FormatSize": func() { FormatSize(-1) }, "DisplaySize": func() { DisplaySize(-1) }, "FormatDuration": func() { FormatDuration(-1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			call()
		}()
	}
}

func FuzzParseSize(f *testing.F) {
	for _, seed := range []string{"10GiB", "1.5MiB", "500kB", "unlimited", "8EiB", "-1", "1_0", "1.e", "9.223372036854775808EB"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			wantInvalid(t, s, err, "")
			return
		}
		if n < 0 {
			t.Fatalf("%q is %d", s, n)
		}
		if again, err := ParseSize(FormatSize(n)); err != nil || again != n {
			t.Fatalf("%q is %d, formatted %q, which is %d, %v", s, n, FormatSize(n), again, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"2555d", "7w", "1d12h", "1.5d", "250ms", "1h1d", "0", "-1s", "106751d23h47m16.854775807s", "1.2.3d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		theirs, theirErr := time.ParseDuration(s)
		if theirErr == nil && theirs >= 0 && (err != nil || d != theirs) && !strings.HasPrefix(s, "-") {
			t.Fatalf("%q is %v, %v, package time reads %v", s, d, err, theirs)
		}
		if err != nil {
			wantInvalid(t, s, err, "")
			return
		}
		if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d || d < 0 {
			t.Fatalf("%q is %v, formatted %q, which is %v, %v", s, d, FormatDuration(d), again, err)
		}
	})
}

func FuzzFormatReadsBack(f *testing.F) {
	f.Add(int64(0))
	f.Add(int64(1536))
	f.Add(int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, n int64) {
		n &= math.MaxInt64
		if got, err := ParseSize(FormatSize(n)); err != nil || got != n {
			t.Fatalf("size %d: %d, %v", n, got, err)
		}
		if got, err := ParseDuration(FormatDuration(time.Duration(n))); err != nil || int64(got) != n {
			t.Fatalf("duration %d: %d, %v", n, got, err)
		}
		if got, err := ParseCount(FormatCount(n)); err != nil || got != n {
			t.Fatalf("count %d: %d, %v", n, got, err)
		}
		DisplaySize(n)
	})
}
