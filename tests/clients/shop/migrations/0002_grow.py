from django.db import migrations, models


def note(apps, _schema_editor):
    apps.get_model("shop", "Customer").objects.filter(name__contains="7").update(notes="lucky")


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]

    operations = [
        migrations.AddField("Customer", "notes", models.TextField(default="", db_index=True)),
        migrations.AlterField("Customer", "name", models.CharField(max_length=100, unique=True)),
        migrations.AlterField("Order", "amount", models.DecimalField(max_digits=8, decimal_places=2)),
        migrations.AddField("Order", "made", models.DateTimeField(auto_now_add=True, null=True)),
        migrations.CreateModel(
            "Tag",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.SlugField(unique=True)),
                ("orders", models.ManyToManyField("shop.Order")),
            ],
        ),
        migrations.RunPython(note, migrations.RunPython.noop),
    ]
