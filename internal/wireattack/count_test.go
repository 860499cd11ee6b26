package wireattack

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// leastAttacks is how many attacks the suite has at least.
const leastAttacks = 150

// TestTheTapSeesWhatIsTheVictims reads the victim's own rows in every form: a
// suite that does not see them proves nothing.
func TestTheTapSeesWhatIsTheVictims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var came tap
	c := w.connect(t, "app", victimName, &came)
	came.take()
	for name, sql := range map[string]string{
		"text":        "SELECT MARK_name FROM MARK_patients LIMIT 1",
		"a name":      "SELECT * FROM MARK_patients LIMIT 0",
		"an error":    "INSERT INTO own VALUES (1, 'x', 1); SELECT 'x'::MARK_type",
		"number":      "SELECT id FROM MARK_patients LIMIT 1",
		"hexadecimal": "SELECT encode(convert_to(MARK_name, 'UTF8'), 'hex') FROM MARK_patients LIMIT 1",
		"base64":      "SELECT encode(convert_to(MARK_name, 'UTF8'), 'base64') FROM MARK_patients LIMIT 1",
		"reversed":    "SELECT reverse(MARK_name) FROM MARK_patients LIMIT 1",
		"capitals":    "SELECT upper(MARK_name) FROM MARK_patients LIMIT 1",
		"the tenant":  "SELECT current_database()",
		"streams":     "SELECT * FROM kimberlite.streams",
		"audit":       "SELECT * FROM kimberlite.audit",
	} {
		for _, how := range []way{ways[0], ways[5], {"extended", ways[1].run}} {
			err := how.run(t.Context(), c, strings.ReplaceAll(sql, "MARK", mark), nil)
			if _, isRefused := err.(*pgconn.PgError); err != nil && !isRefused {
				t.Fatalf("%s, %s: %v", name, how.name, err)
			}
			if err != nil && name != "an error" {
				t.Errorf("%s, %s: %v", name, how.name, err)
			}
			if found, first, _ := came.take(); found == "" {
				if name == "a name" && how.name == "COPY TO" || name == "an error" && how.name != "simple" {
					continue // there is none in it
				}
				t.Errorf("%s, %s: not seen in %.300q", name, how.name, first)
			}
		}
	}
}
