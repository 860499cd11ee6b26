// Package gorm runs GORM, a stock ORM with migrations, against a running
// server. It is a module of its own, so that GORM is no dependency of the
// product. PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE and PGSSLROOTCERT
// say where the server is; without PGHOST the tests fail.
package gorm

import (
	"errors"
	"os"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

type Doctor struct {
	ID        uint   `gorm:"primaryKey"`
	Name      string `gorm:"size:80;not null;uniqueIndex"`
	Rate      float64
	Active    bool `gorm:"default:true"`
	Badge     []byte
	Shifts    []Shift `gorm:"constraint:OnDelete:CASCADE"`
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt `gorm:"index"`
}

type Shift struct {
	ID       uint64    `gorm:"primaryKey"`
	DoctorID uint      `gorm:"not null;index:shift_of,priority:1"`
	Begins   time.Time `gorm:"index:shift_of,priority:2"`
	Ward     *string
}

// DoctorV2 is the same table after the program grew.
type DoctorV2 struct {
	Doctor
	Phone string `gorm:"size:20"`
}

func (DoctorV2) TableName() string { return "doctors" }

func open(t *testing.T) *gorm.DB {
	t.Helper()
	if os.Getenv("PGHOST") == "" {
		t.Fatal("PGHOST and the others of libpq's variables say where the server is")
	}
	db, err := gorm.Open(postgres.New(postgres.Config{DSN: ""}), &gorm.Config{Logger: logger.Discard, TranslateError: true})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return db
}

func must(t *testing.T, db *gorm.DB) *gorm.DB {
	t.Helper()
	if db.Error != nil {
		t.Fatal(db.Error)
	}
	return db
}

func TestMigrationsAndQueries(t *testing.T) {
	db := open(t)
	if err := db.Migrator().DropTable(&Shift{}, &Doctor{}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds everything as it should be
		if err := db.AutoMigrate(&Doctor{}, &Shift{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = db.Migrator().DropTable(&Shift{}, &Doctor{}) })
	m := db.Migrator()
	if !m.HasTable("doctors") || !m.HasColumn(&Doctor{}, "badge") || !m.HasIndex(&Doctor{}, "idx_doctors_name") || m.HasTable("nurses") {
		t.Fatal("the migrator does not see what it made")
	}

	ward := "east"
	ada := Doctor{Name: "Ada", Rate: 99.5, Badge: []byte{0, 1, 255}, Active: true,
		Shifts: []Shift{{Begins: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Ward: &ward}, {Begins: time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)}}}
	must(t, db.Create(&ada))
	must(t, db.Create(&[]Doctor{{Name: "Bob"}, {Name: "Eve"}}))
	if ada.ID == 0 || ada.Shifts[1].ID == 0 {
		t.Fatalf("ids were not given: %+v", ada)
	}
	var back Doctor
	must(t, db.Preload("Shifts", func(db *gorm.DB) *gorm.DB { return db.Order("begins") }).First(&back, "name = ?", "Ada"))
	if len(back.Shifts) != 2 || *back.Shifts[0].Ward != "east" || back.Shifts[1].Ward != nil ||
		!back.Shifts[0].Begins.Equal(ada.Shifts[0].Begins) || string(back.Badge) != "\x00\x01\xff" || !back.Active {
		t.Fatalf("came back as %+v", back)
	}

	if err := db.Create(&Doctor{Name: "Ada"}).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
		t.Fatalf("a name twice: %v", err)
	}
	if err := db.Create(&Shift{DoctorID: 9999, Begins: time.Now()}).Error; !errors.Is(err, gorm.ErrForeignKeyViolated) {
		t.Fatalf("a shift of nobody: %v", err)
	}

	must(t, db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "name"}}, DoUpdates: clause.AssignmentColumns([]string{"rate"})}).
		Create(&Doctor{Name: "Bob", Rate: 12}))
	must(t, db.Model(&Doctor{}).Where("name IN ?", []string{"Bob", "Eve"}).Update("rate", gorm.Expr("rate + ?", 1)))
	var total struct {
		N   int64
		Sum float64
	}
	must(t, db.Model(&Doctor{}).Select("count(*) AS n, sum(rate) AS sum").Scan(&total))
	if total.N != 3 || total.Sum != 99.5+13+1 {
		t.Fatalf("total %+v", total)
	}

	undo := errors.New("undo")
	err := db.Transaction(func(tx *gorm.DB) error {
		must(t, tx.Delete(&Doctor{}, "1 = 1"))
		_ = tx.Transaction(func(inner *gorm.DB) error { must(t, inner.Create(&Doctor{Name: "Zoe"})); return undo })
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	must(t, db.Delete(&Doctor{}, "name = ?", "Eve")) // softly
	var n, all int64
	must(t, db.Model(&Doctor{}).Count(&n))
	must(t, db.Unscoped().Model(&Doctor{}).Count(&all))
	if n != 2 || all != 3 {
		t.Fatalf("%d of %d doctors", n, all)
	}
	must(t, db.Unscoped().Delete(&ada))
	must(t, db.Model(&Shift{}).Count(&n))
	if n != 0 {
		t.Fatalf("%d shifts outlive their doctor", n)
	}
	grow(t, db)
}

func grow(t *testing.T, db *gorm.DB) {
	t.Helper()
	if err := db.AutoMigrate(&DoctorV2{}); err != nil {
		t.Fatal(err)
	}
	must(t, db.Create(&DoctorV2{Doctor: Doctor{Name: "Max"}, Phone: "112"}))
	var max DoctorV2
	must(t, db.First(&max, "phone = ?", "112"))
	types, err := db.Migrator().ColumnTypes(&DoctorV2{})
	if err != nil {
		t.Fatal(err)
	}
	if len(types) != 9 {
		t.Fatalf("%d columns", len(types))
	}
}
