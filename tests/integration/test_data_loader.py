import numpy as np
import pytest

from edgepack.data.samples import open_dataset
from edgepack.spec.signature import Signature, TensorSpec

torch = pytest.importorskip("torch")
IMAGES = np.arange(5 * 6, dtype=np.float32).reshape(5, 6)
LABELS = [3, 1, 4, 1, 5]


@pytest.mark.parametrize("first", [1, "batch"])
@pytest.mark.parametrize("options", [{"batch_size": None}, {}, {"batch_size": 2}])
def test_a_data_loader_works_as_it_is(first: int | str, options: dict[str, int | None]) -> None:
    signature = Signature((TensorSpec("image", "float32", (first, 6)),), ())
    batched = options != {"batch_size": None}
    items = [
        ({"image": torch.tensor(image if batched else image[None])}, label)
        for image, label in zip(IMAGES, LABELS, strict=True)
    ]
    data = open_dataset(torch.utils.data.DataLoader(items, **options), signature, labelled=True)
    rows = [sample["image"] for item in data for sample in item.samples]
    labels = [int(one) for item in data for label in item.labels for one in label.ravel()]
    np.testing.assert_array_equal(np.concatenate(rows), IMAGES)
    assert labels == LABELS
