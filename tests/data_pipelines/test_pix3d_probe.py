import data_pipelines
def test_a():
    print(data_pipelines.__path__)
    import data_pipelines.photos
