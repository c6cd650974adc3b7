// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
	"testing"
)

// Whatever a configuration holds either changes at once or is named as waiting for a restart.
func TestReloadLosesNoSetting(t *testing.T) {
	var change func(v reflect.Value)
	change = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		case reflect.Float64:
			v.SetFloat(v.Float() + 0.001)
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Slice:
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		case reflect.Map:
			m := reflect.MakeMap(v.Type())
			m.SetMapIndex(reflect.ValueOf("x"), reflect.Zero(v.Type().Elem()))
			v.Set(m)
		case reflect.Struct:
			change(v.Field(0))
		default:
			t.Fatalf("this test cannot change a %v", v.Type())
		}
	}
	for i := range reflect.TypeFor[Config]().NumField() {
		next := Default()
		change(reflect.ValueOf(&next).Elem().Field(i))
		name := reflect.TypeFor[Config]().Field(i).Name
		live, pending := Default().Reloaded(next)
		switch taken := reflect.DeepEqual(live, next); {
		case taken && len(pending) > 0:
			t.Errorf("%s has changed and is said to wait for a restart: %q", name, pending)
		case !taken && (len(pending) != 1 || !reflect.DeepEqual(live, Default())):
			t.Errorf("%s: pending %q, live %+v", name, pending, live)
		}
	}
	if live, pending := Default().Reloaded(Default()); len(pending) != 0 || !reflect.DeepEqual(live, Default()) {
		t.Errorf("nothing has changed: pending %q", pending)
	}
}
